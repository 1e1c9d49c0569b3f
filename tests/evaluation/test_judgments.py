from itertools import permutations

import numpy as np
import pytest

from tfrs_sage.evaluation import evaluate_judgments, ndcg_at_k


def naive_dcg(gains, k):
    return sum(gain / np.log2(rank + 1) for rank, gain in enumerate(gains[:k], 1))


def test_hand_worked_list():
    # Order by score: 1, 3, 2. Linear: 1/1 + 3/1.58496 + 2/2 = 3.89279;
    # ideal 3/1 + 2/1.58496 + 1/2 = 4.76186. Exponential: 1 + 7/1.58496 + 3/2 = 6.91651;
    # ideal 7 + 3/1.58496 + 1/2 = 9.39279.
    relevance, scores = [3.0, 2.0, 1.0], [0.5, 0.1, 0.9]
    linear = ndcg_at_k(relevance, scores, gain="linear")
    assert linear == pytest.approx(3.89279 / 4.76186, rel=1e-5)
    assert ndcg_at_k(relevance, scores) == pytest.approx(6.91651 / 9.39279, rel=1e-5)
    # At 1: the first gains 2^1 - 1 where 2^3 - 1 could be first.
    assert ndcg_at_k(relevance, scores, k=1) == pytest.approx(1 / 7)


def test_best_and_worst_order():
    relevance = np.array([0.0, 3.0, 1.0, 2.0])
    assert ndcg_at_k(relevance, relevance) == pytest.approx(1.0)
    assert ndcg_at_k(relevance, relevance, gain="linear") == pytest.approx(1.0)
    assert ndcg_at_k(relevance, -relevance, k=1) == 0.0


@pytest.mark.parametrize("k", [1, 2, 3, 5, 10])
def test_ties_are_the_mean_over_their_orders(k):
    relevance, scores = np.array([3.0, 0.0, 1.0, 2.0, 1.0]), np.array([1.0, 1.0, 2.0, 1.0, 0.0])
    ideal = naive_dcg(sorted(relevance, reverse=True), k)
    orders = [[2, *middle, 4] for middle in permutations([0, 1, 3])]
    expected = np.mean([naive_dcg(relevance[order], k) / ideal for order in orders])
    assert ndcg_at_k(relevance, scores, k, gain="linear") == pytest.approx(expected)


def test_constant_score_gains_nothing_from_the_order_of_rows():
    relevance = np.array([3.0, 2.0, 1.0, 0.0])
    forward = ndcg_at_k(relevance, np.zeros(4), k=2)
    assert forward == pytest.approx(ndcg_at_k(relevance[::-1], np.zeros(4), k=2))
    assert forward < 1.0


def test_mean_over_queries_in_any_row_order():
    random = np.random.default_rng(0)
    query, relevance = random.integers(9, size=200), random.integers(1, 4, size=200)
    scores = random.normal(size=200)
    expected = np.mean([ndcg_at_k(relevance[query == q], scores[query == q]) for q in range(9)])
    result = evaluate_judgments(query, relevance, scores)
    assert result == {"ndcg@10": pytest.approx(expected), "num_queries": 9, "num_judgments": 200}


def test_query_without_a_gain_is_left_out():
    assert np.isnan(ndcg_at_k([0.0, 0.0], [1.0, 2.0]))
    assert np.isnan(ndcg_at_k([], []))
    result = evaluate_judgments([0, 0, 1, 1], [0, 0, 0, 2], [1, 2, 3, 4])
    assert result == {"ndcg@10": 1.0, "num_queries": 1, "num_judgments": 4}
    with pytest.raises(ValueError, match=r"a relevant item. Received: none"):
        evaluate_judgments([0], [0.0], [1.0])
    with pytest.raises(ValueError, match=r"a relevant item. Received: none"):
        evaluate_judgments([], [], [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], [1.0], 0), "`k` must be a positive int"),
        (([1.0], [1.0, 2.0]), "one length"),
        (([-1.0], [1.0]), "0 or more, .* from -1.0"),
        (([1.0], [np.nan]), "1 scores not finite"),
        (([1.0], [1.0], 10, "cubic"), "'linear' or 'exponential'. Received: 'cubic'"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        ndcg_at_k(*arguments)
