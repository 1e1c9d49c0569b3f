"""The partitioned kind: recall, k of any size, exactness, layout, files, export by signature."""

import numpy as np
import pytest
import tensorflow as tf

from tfrs_sage.errors import InputError
from tfrs_sage.index import build_index, load_index
from tfrs_sage.index.leaves import LARGEST, make_leaves, nearest
from tfrs_sage.index.partitioned_ops import (
    BLOCK,
    Layout,
    PartitionedParameters,
    PartitionedSearch,
)


def _clustered(count: int, dimension: int = 12, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(40, dimension))
    rng = np.random.default_rng(seed)
    vectors = centres[rng.integers(40, size=count)] + 0.6 * rng.normal(size=(count, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _names(count: int) -> list[str]:
    return [f"p{i}" for i in range(count)]


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return _clustered(5000)


@pytest.fixture(scope="module")
def layout(vectors: np.ndarray) -> Layout:
    return Layout.of(vectors, *make_leaves(vectors, 50, seed=1))


@pytest.fixture(scope="module")
def index(vectors: np.ndarray):
    return build_index(vectors, _names(5000), kind="partitioned", recall_target=0.9)


def _search(search: PartitionedSearch):
    return tf.function(
        search.__call__,
        input_signature=[
            tf.TensorSpec([None, search.dimension], tf.float32),
            tf.TensorSpec([], tf.int32),
        ],
    )


def test_recall_is_reached_and_true_on_unseen_queries(vectors, index) -> None:
    queries = _clustered(200, seed=7)
    found, scores = index.search(queries, 10)
    expected, _ = build_index(vectors, _names(5000)).search(queries, 10)
    hits = np.mean([len(set(f) & set(e)) / 10 for f, e in zip(found, expected, strict=True)])
    assert hits >= 0.85
    report = index.manifest()["report"]
    assert min(report["recall"].values()) >= 0.9
    assert report["queries_per_second"] > 0
    # It was worth it: far from all blocks are looked into.
    assert report["parameters"]["blocks_to_search"] < len(index.searcher.layout.rows) / 2
    rows = np.array([[int(one[1:]) for one in row] for row in found])
    np.testing.assert_allclose(scores, np.einsum("qd,qkd->qk", queries, vectors[rows]), atol=1e-5)
    assert (np.diff(scores, axis=1) <= 0).all()


@pytest.mark.parametrize("scoring", ["float32", "bfloat16"])
def test_all_blocks_give_the_exact_answer(vectors, layout, scoring: str) -> None:
    parameters = PartitionedParameters(len(layout.rows), 4.0, scoring)
    search = _search(PartitionedSearch(layout, vectors, parameters))
    queries = _clustered(30, seed=3)
    exact = np.sort(queries @ vectors.T, axis=1)[:, ::-1]
    for k in (1, 10, 300):
        rows, scores = search(tf.constant(queries), tf.constant(k))
        np.testing.assert_allclose(scores.numpy(), exact[:, :k], atol=1e-5)
        assert all(len(set(row)) == k for row in rows.numpy())


@pytest.mark.parametrize("k", [1, 99, 101, 1000, 4999, 5000])
def test_k_results_come_whatever_is_looked_into(vectors, layout, k: int) -> None:
    """One block is looked into where k allows it; larger ones take what they need."""
    search = _search(PartitionedSearch(layout, vectors, PartitionedParameters(1)))
    rows, scores = search(tf.constant(-vectors[:3]), tf.constant(k))  # all scores are low
    assert rows.shape == scores.shape == (3, k)
    assert all(len(set(row)) == k for row in rows.numpy())
    assert rows.numpy().min() >= 0
    assert np.isfinite(scores.numpy()).all()


def test_the_answer_does_not_depend_on_the_batch(vectors, layout, monkeypatch) -> None:
    monkeypatch.setattr("tfrs_sage.index.partitioned_ops.GATHERED_AT_ONCE", 4 * 20 * BLOCK * 12)
    search = _search(PartitionedSearch(layout, vectors, PartitionedParameters(20)))
    queries = _clustered(11, seed=4)  # three chunks of 4 queries
    rows, scores = search(tf.constant(queries), tf.constant(10))
    for one in range(11):
        alone, its_scores = search(tf.constant(queries[one : one + 1]), tf.constant(10))
        assert alone.numpy()[0].tolist() == rows.numpy()[one].tolist()
        np.testing.assert_allclose(its_scores.numpy()[0], scores.numpy()[one], atol=1e-6)
    nothing, none = search(tf.zeros([0, 12]), tf.constant(4))
    assert nothing.shape == none.shape == (0, 4)


def test_layout_holds_every_candidate_once(vectors, layout) -> None:
    there = layout.rows[layout.rows >= 0]
    assert sorted(there) == list(range(5000))
    blocks = layout.blocks(vectors).reshape(-1, BLOCK, 12)
    for leaf in (0, 7, len(layout.centroids) - 1):
        own = slice(layout.first_block[leaf], layout.first_block[leaf] + layout.num_blocks[leaf])
        rows = layout.rows[own]
        members = rows[rows >= 0]
        np.testing.assert_allclose(layout.centroids[leaf], vectors[members].mean(0), atol=1e-5)
        np.testing.assert_array_equal(blocks[own][rows >= 0], vectors[members])
        np.testing.assert_array_equal(  # a place without a candidate repeats the last one
            blocks[own][rows < 0], np.repeat(vectors[members[-1:]], (rows < 0).sum(), axis=0)
        )
    smallest = sorted(np.add.reduceat((layout.rows >= 0).sum(1), layout.first_block))
    assert layout.least_held().tolist() == np.cumsum(smallest).tolist()


def test_leaves_are_of_about_equal_size() -> None:
    # Nine of ten vectors lie in one small place, and half of these are equal.
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(4000, 8)).astype(np.float32)
    vectors[:3600] = vectors[0] + 0.01 * vectors[:3600]
    vectors[:1800] = vectors[0]
    centroids, leaf = make_leaves(vectors, 40)
    sizes = np.bincount(leaf, minlength=len(centroids))
    assert sizes.min() >= 1
    assert sizes.max() <= LARGEST * 4000 / 40 * 2
    for one in range(len(centroids)):
        np.testing.assert_allclose(centroids[one], vectors[leaf == one].mean(0), atol=1e-4)


def test_order_of_leaves_is_by_distance_for_unit_vectors(vectors, layout) -> None:
    """The product with a centroid alone prefers narrow leaves: the bonus makes up for it."""
    search = PartitionedSearch(layout, vectors, PartitionedParameters(1))
    queries = _clustered(20, seed=8)
    count = tf.constant(len(layout.centroids))
    found = search._nearest_leaves(tf.constant(queries), count).numpy()
    distances = np.square(queries[:, None] - layout.centroids).sum(axis=2)
    ranked = np.take_along_axis(distances, found, axis=1)
    assert (np.diff(ranked, axis=1) > -1e-4).all()
    assert all(sorted(row) == list(range(len(layout.centroids))) for row in found)


@pytest.mark.parametrize("count", [1, 2, 9, 130])
def test_small_catalogues(count: int) -> None:
    vectors = _clustered(count)
    index = build_index(vectors, _names(count), kind="partitioned", recall_target=1.0)
    truth = build_index(vectors, _names(count))
    ids, scores = index.search(vectors[:5], 1000)
    assert ids.shape == (min(5, count), count)
    np.testing.assert_allclose(scores, truth.search(vectors[:5], 1000)[1], atol=1e-5)


def test_saved_and_loaded_answers_the_same(vectors, index, tmp_path) -> None:
    index.save(tmp_path / "index")
    again = load_index(tmp_path / "index")
    for one, other in zip(index.search(vectors[:9], 5), again.search(vectors[:9], 5), strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.manifest() == index.manifest()


def test_exported_search_answers_as_the_index(vectors, index, tmp_path) -> None:
    module = PartitionedSearch.from_index(index)
    tf.saved_model.save(module, str(tmp_path / "model"), signatures=None)
    module.search = _search(module)
    tf.saved_model.save(module, str(tmp_path / "model"))
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    rows, scores = loaded.search(tf.constant(vectors[:20]), tf.constant(7))
    expected, expected_scores = index.search_rows(vectors[:20], 7)
    np.testing.assert_array_equal(rows.numpy(), expected)
    np.testing.assert_allclose(scores.numpy(), expected_scores, atol=1e-6)
    # The candidates are in the variables' files: the graph is small.
    assert (tmp_path / "model" / "saved_model.pb").stat().st_size < 300_000
    ops = {node.op for node in module.search.get_concrete_function().graph.as_graph_def().node}
    assert "ResourceGather" not in ops


def test_only_an_unchanged_partitioned_index_is_exported(vectors) -> None:
    with pytest.raises(InputError, match=r"kind 'partitioned'.*kind='brute_force'"):
        PartitionedSearch.from_index(build_index(vectors[:10], _names(10)))
    index = build_index(vectors[:100], _names(100), kind="partitioned")
    index.delete(["p3"])
    with pytest.raises(InputError, match=r"changed=True.*`compact\(\)` first"):
        PartitionedSearch.from_index(index)


def test_an_unreachable_recall_is_an_error(vectors, monkeypatch) -> None:
    monkeypatch.setattr("tfrs_sage.index.partitioned.TRIED", (("bfloat16", 1.0),))
    with pytest.raises(InputError, match=r"recall 1\.0 over these 1000 vectors"):
        build_index(_clustered(1000, 64), _names(1000), "partitioned", recall_target=1.0)


@pytest.mark.parametrize("num_centres", [1, 5, 16, 100])
def test_nearest_centre_against_numpy(num_centres: int, monkeypatch) -> None:
    monkeypatch.setattr("tfrs_sage.index.leaves.SCORES_AT_ONCE", 64 * num_centres)
    vectors, centres = _clustered(200), 2 * _clustered(num_centres, seed=1)
    centres[0] *= 0.1
    distances = np.square(vectors[:, None] - centres).sum(axis=2)
    assert nearest(vectors, centres).tolist() == distances.argmin(axis=1).tolist()
