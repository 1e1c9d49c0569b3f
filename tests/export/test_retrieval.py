"""The `retrieval` export: planted answers, exactness, prefixes, errors."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.export.toy import IDS, TEXTS, VECTORS, KeywordTower, save_tower
from tfrs_sage.errors import InputError
from tfrs_sage.export import exact_search
from tfrs_sage.export.check import check_ops
from tfrs_sage.export.graph_searchers import ExactGraphSearcher
from tfrs_sage.export.retrieval import export_retrieval
from tfrs_sage.export.retrieval_module import retrieval_module
from tfrs_sage.index import build_index


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A `retrieval` made from an exported query tower, whose folder is gone afterwards."""
    folder = tmp_path_factory.mktemp("retrieval")
    tower = save_tower(KeywordTower(folder), folder / "query_tower")
    path = export_retrieval(tower, VECTORS, IDS, folder / "models", TEXTS, check=False)
    shutil.rmtree(tower)
    (folder / "keywords.txt").unlink()
    return path


@pytest.fixture(scope="module")
def signatures(exported):
    model = tf.saved_model.load(str(exported))
    calls = {}
    for name in ("search", "similar", "recommend", "serving_default"):

        def call(k, function=model.signatures[name], **inputs):
            tensors = {key: tf.constant(value) for key, value in inputs.items()}
            answer = function(k=tf.constant(k, tf.int32), **tensors)
            ids = [[i.decode() for i in row] for row in answer["product_id"].numpy()]
            return ids, answer["score"].numpy().tolist()

        calls[name] = call
    calls["model"] = model
    return calls


def test_search_finds_what_was_planted(signatures) -> None:
    ids, scores = signatures["search"](3, query=["RED sofa", "grün green", ""])
    assert ids == [
        ["red sofa", "red chair", "sofa"],
        ["grün", "red chair", "blue-1"],
        ["red chair", "grün", "blue-1"],  # all scores 0: in row order
    ]
    assert scores == [[6, 4, 4], [4, 0, 0], [0, 0, 0]]
    assert signatures["serving_default"](3, query=["RED sofa"])[0] == ids[:1]


def test_k_is_an_input_and_is_clipped(signatures) -> None:
    for k in (1, 2, 6, 100):
        ids, scores = signatures["search"](k, query=["blue"])
        assert len(ids[0]) == len(scores[0]) == min(k, 6)
        assert ids[0][0] == "blue-1"
    for k in (0, -3):
        with pytest.raises(tf.errors.InvalidArgumentError, match="`k` must be a positive int"):
            signatures["search"](k, query=["blue"])
    empty = signatures["search"](3, query=np.zeros(0, dtype=str))
    assert empty == ([], [])


def test_similar_leaves_the_product_itself_out(signatures) -> None:
    ids, scores = signatures["similar"](2, product_id=["dull red", "red sofa"])
    # "dull red" is not its own best match, "red sofa" would be: neither may appear.
    assert ids == [["red chair", "red sofa"], ["red chair", "sofa"]]
    assert scores == [[4, 3], [12, 12]]
    assert len(signatures["similar"](100, product_id=["sofa"])[0][0]) == 5
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"unknown product_id:\] \[nope\]"):
        signatures["similar"](2, product_id=["sofa", "nope"])


def test_recommend_takes_the_best_vector_of_a_user(signatures) -> None:
    axes = np.eye(4, dtype=np.float32)
    ids, scores = signatures["recommend"](
        4, embedding=[[axes[1], axes[3]]], weight=np.float32([[0.5, 1.0]])
    )
    assert ids == [["sofa", "red sofa", "grün", "red chair"]]
    assert scores == [[4, 3, 2, 0]]
    # A padding vector of weight 0 may not lift negative scores to 0.
    ids, scores = signatures["recommend"](
        6, embedding=[[-axes[0], axes[1]]], weight=np.float32([[1.0, 0.0]])
    )
    assert scores == [[0, 0, 0, -1, -3, -4]]
    assert ids[0][3:] == ["dull red", "red sofa", "red chair"]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"must have the shape \[n, m\]"):
        signatures["recommend"](2, embedding=[[axes[0]]], weight=np.float32([[1, 1]]))


def test_chunks_do_not_change_the_answer(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(exact_search, "SCORE_BUDGET", 1)
    monkeypatch.setattr(exact_search, "MIN_CHUNK", 7)
    # Few distinct whole numbers: ties within and across the chunks.
    vectors = np.random.default_rng(0).integers(-2, 3, size=(100, 4)).astype(np.float32)
    ids = [f"p{i}" for i in range(100)]
    with retrieval_module(KeywordTower(tmp_path), ExactGraphSearcher(vectors), ids, 4) as module:
        answer = module.search(tf.constant(["red", "blue sofa"]), tf.constant(30))
        users = np.random.default_rng(1).integers(-2, 3, size=(2, 3, 4)).astype(np.float32)
        weights = np.float32([[1, 2, 3], [2, 2, 1]])
        best = module.recommend(tf.constant(users), tf.constant(weights), tf.constant(30))
    queries = np.float32([[1, 0, 0, 0], [0, 0, 1, 1]])
    expected, scores = build_index(vectors, ids).search(queries, 30)
    assert [[i.decode() for i in row] for row in answer["product_id"].numpy()] == expected.tolist()
    np.testing.assert_array_equal(answer["score"], scores)

    every = (weights[:, :, None] * (users @ vectors.T)).max(axis=1)
    order = np.argsort(-every, axis=1, kind="stable")[:, :30]
    assert best["product_id"].numpy().tolist() == [[f"p{i}".encode() for i in r] for r in order]


def test_candidates_are_not_in_the_graph(tmp_path) -> None:
    vectors = np.random.default_rng(0).normal(size=(19_000, 4)).astype(np.float32)
    path = export_retrieval(
        KeywordTower(tmp_path), vectors, range(19_000), tmp_path, TEXTS, check=False
    )
    assert (path / "saved_model.pb").stat().st_size < 200_000
    # A gather straight from a variable makes TensorFlow copy all of it at every later read.
    assert "ResourceGather" not in check_ops(path).ops


def test_a_tower_of_another_width_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match=r"one width\. Received: 4 and 3"):
        export_retrieval(KeywordTower(tmp_path), np.eye(3), ["a", "b", "c"], tmp_path, TEXTS)


def test_a_prefix_answers_as_brute_force_over_the_cut_vectors(tmp_path) -> None:
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(40, 4)).astype("f4")
    ids = [f"p{i}" for i in range(40)]
    path = export_retrieval(
        KeywordTower(tmp_path), vectors, ids, tmp_path, ["red green blue"], prefix=2, check=False
    )
    manifest = json.loads((path / "manifest.json").read_text())
    assert (manifest["prefix"], manifest["dimension"], manifest["embedding_dim"]) == (2, 2, 4)
    signatures = tf.saved_model.load(str(path)).signatures
    k = tf.constant(7)

    def unit(given: np.ndarray) -> np.ndarray:
        return given[..., :2] / np.linalg.norm(given[..., :2], axis=-1, keepdims=True)

    def check(answer, scores: np.ndarray) -> None:
        best = np.argsort(-scores, axis=1, kind="stable")[:, :7]
        assert answer["product_id"].numpy().tolist() == [[b"p%d" % i for i in r] for r in best]
        found = np.take_along_axis(scores, best, axis=1)
        np.testing.assert_allclose(answer["score"], found, atol=1e-6)

    # "blue" lies behind the prefix: only red and green are left of it.
    queries = np.float32([[1, 1, 1, 0], [1, 0, 0, 0]])
    answer = signatures["search"](query=tf.constant(["red green blue", "red"]), k=k)
    check(answer, unit(queries) @ unit(vectors).T)
    rows = [4, 17]
    scores = unit(vectors[rows]) @ unit(vectors).T
    scores[[0, 1], rows] = -np.inf
    check(signatures["similar"](product_id=tf.constant(["p4", "p17"]), k=k), scores)
    users = rng.normal(size=(2, 3, 4)).astype("f4")  # as wide as the towers' embeddings
    weights = np.float32([[1, 0.5, 2], [1, 1, 0.1]])
    answer = signatures["recommend"](embedding=tf.constant(users), weight=weights, k=k)
    check(answer, (weights[:, :, None] * (unit(users) @ unit(vectors).T)).max(axis=1))


def test_the_whole_width_as_a_prefix_changes_nothing(tmp_path) -> None:
    arguments = (KeywordTower(tmp_path), VECTORS, IDS, tmp_path, TEXTS)
    path = export_retrieval(*arguments, prefix=4, check=False)
    search = tf.saved_model.load(str(path)).signatures["search"]
    answer = search(query=tf.constant(["RED sofa"]), k=tf.constant(3))
    assert answer["score"].numpy().tolist() == [[6, 4, 4]]  # and not cosines
    with pytest.raises(InputError, match=r"1 to 4, the width of the embeddings\. Received: 5"):
        export_retrieval(*arguments, prefix=5)


def test_what_cannot_be_exported_is_refused(tmp_path) -> None:
    arguments = (KeywordTower(tmp_path), VECTORS, IDS, tmp_path)
    with pytest.raises(InputError, match="on stock ops: auto, brute_force, partitioned"):
        export_retrieval(*arguments, TEXTS, kind="scann")
    with pytest.raises(InputError, match="must have at least one real row"):
        export_retrieval(*arguments, [])
    for other in (build_index(VECTORS, IDS[::-1]), build_index(2 * VECTORS, IDS)):
        with pytest.raises(InputError, match=r"in their order, with the same vectors"):
            export_retrieval(*arguments, TEXTS, index=other)
    with pytest.raises(InputError, match="'sofa' more than once"):
        export_retrieval(arguments[0], VECTORS, ["sofa"] * 6, tmp_path, TEXTS)
    assert not (tmp_path / "retrieval").exists()
