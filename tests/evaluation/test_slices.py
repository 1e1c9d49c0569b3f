import numpy as np
import pytest

from tfrs_sage.evaluation import bootstrap_interval, metrics_of_ranks, recall_per_query
from tfrs_sage.evaluation.slices import (
    frequency_labels,
    length_labels,
    popularity_deciles,
    seen_labels,
    slice_figures,
    value_labels,
)


def test_a_slice_is_its_pairs_alone():
    random = np.random.default_rng(0)
    ranks, query = random.integers(1, 40, size=50), random.integers(9, size=50)
    labels = random.choice(["b", "a", "(other)"], size=50)
    figures = slice_figures(ranks, query, labels, index_size=77, ks=(10,))
    assert list(figures) == ["a", "b", "(other)"]
    for label, one in figures.items():
        rows = labels == label
        intervals = one.pop("intervals")
        assert one == metrics_of_ranks(ranks[rows], query[rows], 77, (10,))
        assert intervals["recall@10"] == bootstrap_interval(
            *recall_per_query(ranks[rows], query[rows], 10)
        )
    assert sum(one["num_pairs"] for one in figures.values()) == 50
    whole = metrics_of_ranks(ranks, query, 77, (10,))["recall@10"]
    parts = [one["recall@10"] * one["num_pairs"] for one in figures.values()]
    assert sum(parts) / 50 == pytest.approx(whole)


def test_order_of_numbered_labels():
    labels = ["decile 10", "decile 2", "(none)"]
    assert list(slice_figures([1, 1, 1], [0, 1, 2], labels, 9)) == labels[1::-1] + labels[2:]
    counts = frequency_labels([0, 1, 4, 5, 19, 20])
    found = slice_figures(np.ones(6), np.arange(6), counts[::-1], 9)
    assert list(found) == list(dict.fromkeys(counts))


def test_labels_by_hand():
    assert seen_labels([0, 3]) == ["new", "seen"]
    assert [one.split()[1] for one in frequency_labels([0, 1, 4, 5, 19, 20])] == [
        "0", "1-4", "1-4", "5-19", "5-19", "20+",
    ]  # fmt: skip
    lengths = length_labels(["sofa", "red sofa", "a red sofa", "a b c d", "a b c d e"])
    assert lengths == ["1-2 words"] * 2 + ["3-4 words"] * 2 + ["5+ words"]
    values = ["oak", "oak", None, " ", "ash", "elm", "elm"]
    assert value_labels(values, most=2) == [
        "oak", "oak", "(none)", "(none)", "(other)", "elm", "elm",
    ]  # fmt: skip


def test_deciles_hold_a_tenth_each_and_ties_stay_together():
    counts = np.random.default_rng(1).permutation(100)
    deciles = popularity_deciles(counts)
    assert deciles.tolist() == [count // 10 + 1 for count in counts]
    # Seven of ten were never met: places 0 to 6, whose middle is in the fourth tenth.
    assert popularity_deciles([0] * 7 + [1, 2, 3]).tolist() == [4] * 7 + [8, 9, 10]
    assert popularity_deciles([5]).tolist() == [6]


def test_bad_input():
    with pytest.raises(ValueError, match="one length"):
        slice_figures([1, 2], [0, 1], ["a"], 5)
