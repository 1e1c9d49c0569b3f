import tracemalloc

import numpy as np
import pytest

from tfrs_sage.evaluation import rank_pairs, ranking, top_k
from tfrs_sage.evaluation.ranking import rank_in_scores


def vectors(rows, dim, seed):
    values = np.random.default_rng(seed).normal(size=(rows, dim))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def naive_order(query, candidates):
    """Rows from best to worst: higher float64 score first, then lower row."""
    scores = [
        float(sum(np.float64(a) * np.float64(b) for a, b in zip(query, one, strict=True)))
        for one in candidates
    ]
    return sorted(range(len(candidates)), key=lambda row: (-scores[row], row))


def test_hand_worked_ranks():
    # Scores of query 0: 1, 3, 2, 3; of query 1: -1, -3, -2, -3. Rows 1 and 3 tie.
    candidates = [[1.0], [3.0], [2.0], [3.0]]
    ranks = rank_pairs([[1.0], [-1.0]], candidates, [0, 0, 0, 0, 1, 1], [0, 1, 2, 3, 1, 3])
    assert ranks.tolist() == [4, 1, 3, 2, 3, 4]
    rows, scores = top_k([[1.0], [-1.0]], candidates, 3)
    assert rows.tolist() == [[1, 3, 2], [0, 2, 1]]
    assert scores.tolist() == [[3, 3, 2], [-1, -2, -3]]


def test_equals_the_definition():
    queries, candidates = vectors(7, 12, 0), vectors(60, 12, 1)
    pair_query, pair_candidate = np.divmod(np.arange(7 * 60), 60)
    ranks = rank_pairs(queries, candidates, pair_query, pair_candidate).reshape(7, 60)
    rows, _ = top_k(queries, candidates, 60)
    for query in range(7):
        order = naive_order(queries[query], candidates)
        assert rows[query].tolist() == order
        assert ranks[query, order].tolist() == list(range(1, 61))


@pytest.mark.parametrize(("chunk_bytes", "block_rows"), [(1, 7), (4 * 64 * 3, 64), (1 << 30, 499)])
def test_block_size_changes_nothing(chunk_bytes, block_rows, monkeypatch):
    random = np.random.default_rng(2)
    candidates = vectors(100, 64, 3)[random.integers(100, size=500)]  # every one many times
    queries = np.concatenate([vectors(20, 64, 4), candidates[:20]])
    pair_query, pair_candidate = random.integers(40, size=300), random.integers(500, size=300)
    whole = rank_pairs(queries, candidates, pair_query, pair_candidate)
    best = top_k(queries, candidates, 30)
    monkeypatch.setattr(ranking, "BLOCK_ROWS", block_rows)
    parts = rank_pairs(queries, candidates, pair_query, pair_candidate, chunk_bytes=chunk_bytes)
    np.testing.assert_array_equal(parts, whole)
    again = top_k(queries, candidates, 30, chunk_bytes=chunk_bytes)
    for left, right in zip(again, best, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("cut", [0, 1, 150, 299])
def test_distractors_are_candidates_of_later_rows(cut, monkeypatch):
    monkeypatch.setattr(ranking, "BLOCK_ROWS", 41)
    random = np.random.default_rng(12)
    candidates = vectors(60, 16, 13)[random.integers(60, size=450)]  # many ties
    queries = vectors(9, 16, 14)
    pair_query, pair_candidate = random.integers(9, size=80), random.integers(300, size=80)
    first, rest = candidates[:300], candidates[300:]
    streamed = [rest[:cut], rest[cut:]]
    np.testing.assert_array_equal(
        rank_pairs(queries, first, pair_query, pair_candidate, streamed),
        rank_pairs(queries, candidates, pair_query, pair_candidate),
    )
    for left, right in zip(
        top_k(queries, first, 20, streamed), top_k(queries, candidates, 20), strict=True
    ):
        np.testing.assert_array_equal(left, right)


def test_candidates_may_be_mapped_from_disk_in_half_precision(tmp_path):
    candidates, queries = vectors(90, 8, 15).astype(np.float16), vectors(5, 8, 16)
    np.save(tmp_path / "candidates.npy", candidates)
    mapped = np.load(tmp_path / "candidates.npy", mmap_mode="r")
    pair_query, pair_candidate = np.divmod(np.arange(5 * 90), 90)
    np.testing.assert_array_equal(
        rank_pairs(queries, mapped, pair_query, pair_candidate),
        rank_pairs(queries, candidates.astype(np.float32), pair_query, pair_candidate),
    )


def test_rank_in_scores_is_the_same_order():
    scores = np.random.default_rng(17).integers(5, size=40).astype(float)
    order = sorted(range(40), key=lambda row: (-scores[row], row))
    assert rank_in_scores(scores, order).tolist() == list(range(1, 41))
    then = np.random.default_rng(18).integers(3, size=40)
    order = sorted(range(40), key=lambda row: (-scores[row], -then[row], row))
    assert rank_in_scores(scores, order, then).tolist() == list(range(1, 41))


def test_equal_vectors_tie_in_row_order():
    # Their float32 products may differ in the last digit by their place in the block.
    one = vectors(1, 256, 5)
    candidates = np.concatenate([vectors(37, 256, 6) * 0.1, np.repeat(one, 101, axis=0)])
    ranks = rank_pairs(one, candidates, np.zeros(101, int), np.arange(37, 138))
    assert ranks.tolist() == list(range(1, 102))
    assert top_k(one, candidates, 40)[0][0].tolist() == list(range(37, 77))


def test_ranks_are_places_in_top_k():
    queries, candidates = vectors(15, 32, 7), vectors(400, 32, 8)
    candidates[200:] = candidates[:200] + np.float32(1e-7)  # nearly ties
    rows, _ = top_k(queries, candidates, 400)
    pair_query, place = np.divmod(np.arange(15 * 400), 400)
    ranks = rank_pairs(queries, candidates, pair_query, rows.ravel())
    np.testing.assert_array_equal(ranks, place + 1)


def test_what_float32_cannot_tell_apart_is_ordered_all_the_same(monkeypatch):
    monkeypatch.setattr(ranking, "BLOCK_ROWS", 37)
    candidates = np.repeat(vectors(1, 64, 19), 400, axis=0)
    random = np.random.default_rng(20)
    # Steps of the last digit in two entries: scores differ by less than a float32 product errs.
    for column in (3, 40):
        steps = random.integers(-3, 4, size=400).astype(np.float32)
        candidates[:, column] += steps * np.spacing(candidates[:, column])
    queries = vectors(3, 64, 21) + candidates[:1]
    scores = (candidates[None] * queries[:, None].astype(np.float64)).sum(axis=2)
    expected = [np.lexsort((np.arange(400), -row))[:25] for row in scores]
    assert top_k(queries, candidates, 25)[0].tolist() == [row.tolist() for row in expected]


def test_query_product_is_a_candidate_like_all_others():
    products = vectors(30, 16, 9)
    # The nearest of each product is the product itself: any other is second at best.
    assert rank_pairs(products, products, np.arange(30), np.arange(30)).tolist() == [1] * 30
    assert (rank_pairs(products, products, np.arange(29), np.arange(1, 30)) >= 2).all()


def test_memory_is_bounded():
    queries, candidates = vectors(400, 8, 10), vectors(20_000, 8, 11)  # 32 MB of scores
    pairs = np.arange(400)
    rank_pairs(queries[:2], candidates, pairs[:2], pairs[:2])
    tracemalloc.start()
    rank_pairs(queries, candidates, pairs, pairs, chunk_bytes=1 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_nothing_to_rank():
    assert rank_pairs(vectors(2, 4, 0), vectors(3, 4, 1), [], []).tolist() == []
    rows, scores = top_k(vectors(2, 4, 0), np.zeros((0, 4)), 5)
    assert rows.shape == scores.shape == (2, 0)
    assert top_k(vectors(2, 4, 0), vectors(3, 4, 1), 5)[0].shape == (2, 3)


def test_bad_input():
    queries, candidates = vectors(2, 4, 0), vectors(3, 4, 1)
    with pytest.raises(ValueError, match=r"one width. Received: shapes \(2, 4\) and \(3, 2\)"):
        rank_pairs(queries, candidates[:, :2], [0], [0])
    with pytest.raises(ValueError, match=r"`pair_candidate` must be rows 0 to 2. Received: 3 to 3"):
        rank_pairs(queries, candidates, [0], [3])
    with pytest.raises(ValueError, match="`pair_query` must be a vector of row numbers"):
        rank_pairs(queries, candidates, [0.5], [0])
    with pytest.raises(ValueError, match="must have one length"):
        rank_pairs(queries, candidates, [0, 1], [0])
    with pytest.raises(ValueError, match=r"`k` must be a positive int. Received: k=0"):
        top_k(queries, candidates, 0)
    with pytest.raises(ValueError, match=r"`chunk_bytes` must be positive. Received: 0"):
        top_k(queries, candidates, 1, chunk_bytes=0)
    with pytest.raises(ValueError, match=r"`distractors` must be vectors \[any, 4\]"):
        top_k(queries, candidates, 1, [np.zeros((2, 5))])
    with pytest.raises(ValueError, match=r"`distractors` must be finite. Received: row 0"):
        rank_pairs(queries, candidates, [0], [0], [np.full((1, 4), np.inf)])
    candidates[1, 2] = np.nan
    with pytest.raises(ValueError, match=r"`candidate_vectors` must be finite. Received: row 1"):
        top_k(queries, candidates, 1)
