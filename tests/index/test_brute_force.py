"""Exact search against numpy's full sort, and its ties, shapes and errors."""

import numpy as np
import pytest

from tfrs_sage.errors import InputError
from tfrs_sage.index import brute_force, build_index, load_index


def _vectors(count: int, dimension: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)


def _names(count: int) -> list[str]:
    return [f"p{i}" for i in range(count)]


@pytest.mark.parametrize("count", [1, 10, 3000])
@pytest.mark.parametrize("k", [1, 7, 5000])
def test_same_as_full_sort(count: int, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brute_force, "SCORE_BUDGET", 1)  # chunks of 1,024 candidates
    monkeypatch.setattr(brute_force, "QUERY_CHUNK", 3)
    vectors, queries = _vectors(count), _vectors(11, seed=1)
    ids, scores = build_index(vectors, _names(count)).search(queries, k)
    exact = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    order = np.argsort(-exact, axis=1, kind="stable")[:, :k]
    assert ids.shape == scores.shape == (11, min(k, count))
    assert ids.tolist() == [[f"p{i}" for i in row] for row in order]
    np.testing.assert_allclose(scores, np.take_along_axis(exact, order, 1), atol=1e-5)
    assert scores.dtype == np.float32


def test_ties_fall_in_row_order_across_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brute_force, "SCORE_BUDGET", 1)
    # Whole numbers, so that every dot product is exact: -1, 0 (as -0.0 too) and 1, many times.
    values = np.random.default_rng(3).integers(-1, 2, size=4000).astype(np.float32)
    index = build_index(values[:, None], _names(4000))
    for query in (1.0, -1.0):
        rows, scores = index.search_rows([[query]], 3000)
        expected = np.argsort(-(values * query), kind="stable")[:3000]
        assert rows[0].tolist() == expected.tolist()
        assert scores[0].tolist() == (values * query)[expected].tolist()


def test_saved_and_loaded_answers_the_same(tmp_path) -> None:
    names = ["plain", "two words", "Ünï\u2028code", "tab\there"]
    vectors = _vectors(4)
    index = build_index(vectors, names)
    index.save(tmp_path / "index")
    index.save(tmp_path / "index")  # replaces, leaves nothing beside
    assert [p.name for p in tmp_path.iterdir()] == ["index"]
    again = load_index(tmp_path / "index")
    for one, other in zip(index.search(vectors, 4), again.search(vectors, 4), strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.manifest() == index.manifest()
    assert again.manifest()["report"]["recall"]["@10"] == 1.0


def test_a_folder_that_differs_from_its_manifest_is_refused(tmp_path) -> None:
    build_index(_vectors(4), _names(4)).save(tmp_path / "index")
    np.save(tmp_path / "index" / "vectors.npy", _vectors(4, dimension=5))
    with pytest.raises(InputError, match="dimension is 5, needed 8"):
        load_index(tmp_path / "index")
    with pytest.raises(InputError, match=r"must hold a manifest\.json"):
        load_index(tmp_path)


def test_bad_input_is_named() -> None:
    vectors = _vectors(4)
    with pytest.raises(InputError, match="'a' more than once"):
        build_index(vectors, ["a", "b", "a", "c"])
    with pytest.raises(InputError, match="3 ids for 4 vectors"):
        build_index(vectors, ["a", "b", "c"])
    with pytest.raises(InputError, match=r"line breaks\. Received: 'a\\nb' at row 1"):
        build_index(vectors, ["a", "a\nb", "c", "d"])
    with pytest.raises(InputError, match=r"known kind: brute_force, scann, partitioned\. .*'x'"):
        build_index(vectors, _names(4), kind="x")
    with pytest.raises(InputError, match="in 1 rows, the first at row 2"):
        build_index(np.where(np.arange(4)[:, None] == 2, np.nan, vectors), _names(4))
    with pytest.raises(InputError, match=r"\[n, d\]"):
        build_index(np.zeros((0, 3)), [])
    with pytest.raises(InputError, match="recall_target"):
        build_index(vectors, _names(4), recall_target=1.5)
    index = build_index(vectors, _names(4))
    with pytest.raises(ValueError, match=r"\[num_queries, 8\].*Received: shape \[1, 3\]"):
        index.search(np.zeros((1, 3)), 1)
    with pytest.raises(ValueError, match=r"positive int\. Received: k=0"):
        index.search(vectors, 0)


def test_no_queries_give_no_rows() -> None:
    ids, scores = build_index(_vectors(4), _names(4)).search(np.zeros((0, 8)), 2)
    assert ids.shape == scores.shape == (0, 2)
