import numpy as np
import pytest

from tfrs_sage.errors import InputError
from tfrs_sage.evaluation import (
    VectorBlocks,
    bootstrap_interval,
    evaluate_task,
    intervals_of_ranks,
    metrics_of_ranks,
    ndcg_at_k,
    per_query,
    pool_pairs,
    recall_at_k,
    recall_per_query,
    reciprocal_rank_per_query,
    rows_of,
    top_k,
)


def test_hand_worked_figures():
    # Query 4 has its positives at ranks 1, 5, 11, query 7 at 200.
    metrics = metrics_of_ranks([5, 1, 200, 11], [4, 4, 7, 4], index_size=300)
    ideal = 1 + 1 / np.log2(3) + 1 / 2
    assert metrics == {
        "recall@10": 2 / 4,
        "recall@100": 3 / 4,
        "hit_rate@10": 1 / 2,
        "hit_rate@100": 1 / 2,
        "ndcg@10": pytest.approx((1 + 1 / np.log2(6)) / ideal / 2),
        "ndcg@100": pytest.approx((1 + 1 / np.log2(6) + 1 / np.log2(12)) / ideal / 2),
        "mrr": pytest.approx((1 + 1 / 200) / 2),
        "num_pairs": 4,
        "num_queries": 2,
        "index_size": 300,
    }


def test_agrees_with_the_metrics_of_lists():
    random = np.random.default_rng(0)
    queries, candidates = random.normal(size=(30, 8)), random.normal(size=(200, 8))
    query, candidate = pool_pairs([(random.integers(30, size=90), random.integers(200, size=90))])
    metrics = evaluate_task(queries, candidates, query, candidate, ks=(1, 7))
    ranked, _ = top_k(queries, candidates, 7)
    positives = [candidate[query == one].tolist() for one in range(30)]
    assert metrics["recall@1"] == pytest.approx(recall_at_k(ranked, positives, 1))
    assert metrics["recall@7"] == pytest.approx(recall_at_k(ranked, positives, 7))


def test_planted_answer():
    identity = np.eye(40, dtype=np.float32)
    metrics = evaluate_task(identity, identity, np.arange(40), np.arange(40), ks=(1,))
    assert metrics["recall@1"] == metrics["mrr"] == 1.0
    # A checkerboard with the wrong half: every positive is behind the query's own.
    worse = evaluate_task(identity, -identity, np.arange(40), np.arange(40), ks=(39,))
    assert worse["recall@39"] == 0.0 and worse["mrr"] == pytest.approx(1 / 40)


def test_pair_given_twice_counts_once():
    identity = np.eye(4, dtype=np.float32)
    metrics = evaluate_task(identity, identity, [0, 0, 0, 1], [0, 0, 1, 3], ks=(1,))
    assert metrics["num_pairs"] == 3
    assert metrics["recall@1"] == 1 / 3


def test_group_is_the_union_of_its_tasks():
    exact, relevant = ([0, 1], [5, 6]), ([1, 0, 1], [6, 2, 0])
    query, candidate = pool_pairs([exact, relevant])
    assert list(zip(query, candidate, strict=True)) == [(0, 2), (0, 5), (1, 0), (1, 6)]
    assert pool_pairs([])[0].shape == (0,)
    with pytest.raises(ValueError, match=r"one length. Received: shapes \(1,\) and \(2,\)"):
        pool_pairs([([0], [1, 2])])


def test_per_query_values_and_weights():
    values, weights = recall_per_query([1, 20, 3, 4], [9, 9, 2, 2], k=10)
    assert values.tolist() == [1.0, 0.5] and weights.tolist() == [2.0, 2.0]
    assert reciprocal_rank_per_query([1, 20, 3, 4], [9, 9, 2, 2]).tolist() == [1 / 3, 1.0]
    ranks, query = np.array([1, 30, 2, 50, 60]), np.array([0, 0, 1, 1, 1])
    values, weights = recall_per_query(ranks, query, 10)
    expected = metrics_of_ranks(ranks, query, 100)["recall@10"]
    assert np.average(values, weights=weights) == pytest.approx(expected)


def test_ndcg_is_that_of_judgments_with_gains_of_one():
    random = np.random.default_rng(3)
    scores = random.normal(size=(6, 40))
    query, candidate = pool_pairs([(random.integers(6, size=30), random.integers(40, size=30))])
    ranks = (scores[query] > scores[query, candidate][:, None]).sum(axis=1) + 1
    values, _ = per_query(ranks, query, [5])["ndcg@5"]
    for one, value in zip(np.unique(query), values, strict=True):
        relevance = np.isin(np.arange(40), candidate[query == one]).astype(float)
        assert value == pytest.approx(ndcg_at_k(relevance, scores[one], 5))


def test_intervals_are_of_the_queries():
    ranks, query = np.array([1, 30, 2, 50, 60, 3]), np.array([0, 0, 1, 1, 1, 2])
    intervals = intervals_of_ranks(ranks, query, ks=(10,))
    assert set(intervals) == set(per_query(ranks, query, (10,)))
    assert intervals["recall@10"] == bootstrap_interval(*recall_per_query(ranks, query, 10))
    assert intervals["mrr"] == bootstrap_interval(reciprocal_rank_per_query(ranks, query))
    assert intervals["hit_rate@10"] == (1.0, 1.0)


def test_distractors_push_ranks_down(tmp_path):
    identity = np.eye(4, dtype=np.float32)
    np.save(tmp_path / "more.npy", identity * 2)
    more = VectorBlocks(tmp_path / "more.npy")
    metrics = evaluate_task(identity, identity, range(4), range(4), (1, 2), more)
    assert metrics["recall@1"] == 0.0 and metrics["recall@2"] == 1.0
    assert metrics["index_size"] == 8


def test_bad_figures():
    with pytest.raises(ValueError, match=r"at least one .* pair. Received: none"):
        metrics_of_ranks([], [], 10)
    with pytest.raises(ValueError, match="`ks` must be positive ints"):
        metrics_of_ranks([1], [0], 10, ks=(0,))
    with pytest.raises(ValueError, match="vectors of one length"):
        metrics_of_ranks([1, 2], [0], 10)


def test_rows_of_ids():
    assert rows_of(["c", "a", "c"], ["a", "b", "c"]).tolist() == [2, 0, 2]
    with pytest.raises(InputError, match=r"'x' is not \(2 of 3 pairs\)"):
        rows_of(["a", "x", "y"], ["a", "b"])
    with pytest.raises(ValueError, match=r"once. Received: 2 ids, 1 distinct"):
        rows_of([], ["a", "a"])
