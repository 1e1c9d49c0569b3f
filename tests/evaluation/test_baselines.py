import numpy as np
import pytest

from tfrs_sage.evaluation import metrics_of_ranks, popularity_baseline, random_baseline


def test_random_order_in_closed_form():
    # n = 3. One positive: (1 + 1/2 + 1/3) / 3 = 11/18. Two: first at 1 in 2/3, at 2 in 1/3: 5/6.
    metrics = random_baseline([0, 1, 1], index_size=3, ks=(1, 2, 10))
    assert metrics["recall@1"] == pytest.approx(1 / 3)
    assert metrics["recall@2"] == pytest.approx(2 / 3)
    assert metrics["recall@10"] == 1.0
    assert metrics["mrr"] == pytest.approx((11 / 18 + 5 / 6) / 2)
    assert metrics["num_pairs"] == 3 and metrics["num_queries"] == 2


def test_random_order_is_what_shuffling_gives():
    random = np.random.default_rng(0)
    query = np.repeat(np.arange(4), [1, 2, 5, 30])
    sampled = []
    for _ in range(3000):
        ranks = np.concatenate([random.permutation(50)[: (query == one).sum()] for one in range(4)])
        sampled.append(metrics_of_ranks(ranks + 1, query, 50, ks=(10,)))
    expected = random_baseline(query, 50, ks=(10,))
    for key in ("recall@10", "hit_rate@10", "ndcg@10", "mrr"):
        values = [one[key] for one in sampled]
        assert abs(np.mean(values) - expected[key]) < 5 * np.std(values) / np.sqrt(len(values))


def test_popular_first_then_rows():
    # Counts 0, 2, 1, 2 give the order 1, 3, 2, 0.
    metrics = popularity_baseline([1, 3, 2, 1, 3], [0, 0, 1], [3, 0, 1], index_size=4, ks=(1, 2))
    assert metrics["recall@1"] == 1 / 3
    assert metrics["recall@2"] == 2 / 3
    assert metrics["mrr"] == pytest.approx((1 / 2 + 1) / 2)


def test_bad_input():
    with pytest.raises(ValueError, match="Received: 2 for index_size=1"):
        random_baseline([0, 0], 1)
    with pytest.raises(ValueError, match="Received: 0 for"):
        random_baseline([], 5)
    with pytest.raises(ValueError, match=r"below index_size=3. Received: 3"):
        popularity_baseline([3], [0], [1], 3)
