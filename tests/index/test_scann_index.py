"""ScaNN against brute force: recall, small catalogues, short leaves, save and load."""

import numpy as np
import pytest

from tfrs_sage.errors import InputError
from tfrs_sage.index import build_index, load_index, scann_index
from tfrs_sage.index.scann_index import ScannParameters, candidate_parameters

pytest.importorskip("scann", reason="ScaNN has no wheel for this platform")


def _clustered(count: int, dimension: int = 16, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(20, dimension))
    vectors = centres[rng.integers(20, size=count)] + 0.4 * rng.normal(size=(count, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _names(count: int) -> list[str]:
    return [f"p{i}" for i in range(count)]


@pytest.mark.parametrize("count", [1, 10, 500])
def test_small_catalogues_are_exact(count: int) -> None:
    vectors = _clustered(count)
    queries = _clustered(5, seed=1)
    truth = build_index(vectors, _names(count))
    index = build_index(vectors, _names(count), kind="scann")
    for k in (1, 10, 1000):
        ids, scores = index.search(queries, k)
        expected_ids, expected_scores = truth.search(queries, k)
        assert ids.shape == (5, min(k, count))
        np.testing.assert_allclose(scores, expected_scores, atol=1e-5)
        assert ids.tolist() == expected_ids.tolist()


@pytest.fixture
def small_thresholds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quantisation from 200 vectors on and partitions from 2,000, so that tests are quick."""
    monkeypatch.setattr(scann_index, "BRUTE_FORCE_BELOW", 200)
    monkeypatch.setattr(scann_index, "PARTITION_FROM", 2000)


@pytest.mark.parametrize(("count", "leaves"), [(1500, 0), (6000, 77)])
def test_recall_is_reached_and_true(count: int, leaves: int, small_thresholds, tmp_path) -> None:
    vectors = _clustered(count)
    index = build_index(vectors, _names(count), kind="scann", recall_target=0.9)
    parameters = index.report["parameters"]
    assert parameters["num_leaves"] == leaves
    assert parameters["reorder_factor"] > 0
    # The stated recall holds on queries that the build has not seen.
    rng = np.random.default_rng(7)
    queries = vectors[rng.integers(count, size=200)] + 0.07 * rng.normal(size=(200, 16))
    found, _ = index.search(queries, 10)
    expected, _ = build_index(vectors, _names(count)).search(queries, 10)
    hits = np.mean([len(set(f) & set(e)) / 10 for f, e in zip(found, expected, strict=True)])
    assert hits >= 0.85
    assert index.report["recall"]["@10"] >= 0.9
    assert index.report["recall"]["@100"] >= 0.9
    assert index.report["queries_per_second"] > 0

    index.save(tmp_path / "index")
    (tmp_path / "index").rename(tmp_path / "moved")
    again = load_index(tmp_path / "moved")
    for one, other in zip(index.search(queries, 10), again.search(queries, 10), strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.manifest() == index.manifest()


def test_results_that_the_searched_leaves_lack_are_found_all_the_same(small_thresholds) -> None:
    vectors = _clustered(2500)
    index = build_index(vectors, _names(2500), kind="scann", recall_target=0.5)
    index.searcher.parameters = ScannParameters(index.searcher.parameters.num_leaves, 1, 2)
    ids, scores = index.search(vectors[:3], 2400)  # one leaf holds about 50
    assert ids.shape == (3, 2400)
    assert all(len(set(row)) == 2400 for row in ids)
    assert np.isfinite(scores).all()


def test_an_unreachable_recall_is_an_error(small_thresholds, monkeypatch) -> None:
    monkeypatch.setattr(scann_index, "REORDER_FACTORS", (1,))
    noise = np.random.default_rng(0).normal(size=(1000, 64)).astype(np.float32)
    with pytest.raises(InputError, match=r"recall 1\.0 over these 1000 vectors. Found: at most"):
        build_index(noise, _names(1000), kind="scann", recall_target=1.0)


def test_settings_follow_the_rules_of_thumb() -> None:
    assert candidate_parameters(19_999, 64) == [ScannParameters()]
    assert {p.num_leaves for p in candidate_parameters(20_000, 64)} == {0}
    large = candidate_parameters(1_000_000, 64)
    assert {p.num_leaves for p in large} == {1000}
    costs = [p.cost(1_000_000, 64) for p in large]
    assert costs == sorted(costs)
    assert max(p.num_leaves_to_search for p in large) == 1000
