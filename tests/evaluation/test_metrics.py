import numpy as np
import pytest

from tfrs_sage.evaluation import recall_at_k, reciprocal_rank

RANKED = [["a", "b", "c"], ["d", "e", "f"], ["g", "h", "i"]]


def test_every_pair_weighs_the_same():
    # Pairs: (0, a) (0, c) (0, x) (1, e) (2, z): at 2 a and e are found, at 3 c as well.
    positives = [["a", "c", "x"], ["e"], ["z"]]
    assert recall_at_k(RANKED, positives, 1) == 1 / 5
    assert recall_at_k(RANKED, positives, 2) == 2 / 5
    assert recall_at_k(RANKED, positives, 3) == 3 / 5


def test_one_positive_or_a_list_are_the_same():
    ones = ["a", "f", "z"]
    assert recall_at_k(RANKED, ones, 3) == recall_at_k(RANKED, [[one] for one in ones], 3) == 2 / 3
    assert recall_at_k(RANKED, np.array(ones, object), 3) == 2 / 3


def test_kinds_of_ids():
    as_bytes = np.array([[one.encode() for one in row] for row in RANKED], object)
    assert recall_at_k(as_bytes, ["a", "f", b"i"], 3) == 1.0
    numbers = np.arange(9).reshape(3, 3)
    assert recall_at_k(numbers, [0, [5, 6], np.array([6])], 3) == 3 / 4
    assert recall_at_k(np.array(RANKED), [{"a"}, ("d",), np.array(["i"])], 3) == 1.0


def test_sets_of_positives():
    # Twice the same positive is one pair; a query without positives has no pair.
    assert recall_at_k(RANKED, [["a", "a"], ["z"], []], 3) == 1 / 2


def test_row_shorter_than_k_is_the_whole_answer():
    assert recall_at_k([["a"], ["b", "c"]], ["a", "c"], 10) == 1.0


def test_planted_answer():
    identity = np.arange(50)[:, None]
    assert recall_at_k(identity, np.arange(50), 1) == 1.0
    assert recall_at_k(identity, np.arange(50)[::-1], 1) == 0.0
    assert reciprocal_rank(identity, np.arange(50)) == 1.0


def test_reciprocal_rank_is_of_the_first_positive():
    # 1/1, 1/3 (f before x), 0.
    positives = [["c", "a"], ["x", "f"], ["z"]]
    assert reciprocal_rank(RANKED, positives) == pytest.approx((1 + 1 / 3 + 0) / 3)
    assert reciprocal_rank(RANKED, [["b"], [], []]) == 0.5


@pytest.mark.parametrize("k", [0, -3])
def test_k_must_be_positive(k):
    with pytest.raises(ValueError, match=f"`k` must be a positive int. Received: k={k}"):
        recall_at_k(RANKED, ["a", "b", "c"], k)


@pytest.mark.parametrize(
    "metric", [lambda ids, positives: recall_at_k(ids, positives, 2), reciprocal_rank]
)
def test_lengths_and_emptiness(metric):
    with pytest.raises(ValueError, match=r"one entry for each query. Received: 3 and 1"):
        metric(RANKED, ["a"])
    with pytest.raises(ValueError, match=r"at least one .* pair. Received: none"):
        metric(RANKED, [[], [], []])
