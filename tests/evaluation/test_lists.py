"""Figures of lists against their definitions, written out."""

import itertools

import numpy as np
import pytest

from tfrs_sage.evaluation.lists import (
    coverage,
    gini,
    intra_list_diversity,
    list_figures,
    novelty,
    popularity_lift,
)


@pytest.fixture
def shown():
    """Lists of 5 items for 7 queries out of 30, unit vectors and popularity of the items."""
    random = np.random.default_rng(0)
    lists = np.array([random.choice(30, 5, replace=False) for _ in range(7)])
    vectors = random.normal(size=(30, 6))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return lists, vectors.astype(np.float32), random.integers(20, size=30)


def test_coverage_and_gini_by_hand():
    assert coverage([[0, 1], [1, 2]], 6) == 0.5
    assert gini([[0, 1, 2], [2, 0, 1]], 3) == pytest.approx(0.0)
    assert gini([[4], [4]], 9) == pytest.approx(1.0)
    # Shown 0, 1, 3 times: (-2 * 0 + 0 * 1/4 + 2 * 3/4) / 2.
    assert gini([[1, 2], [2, 2]], 3) == pytest.approx(0.75)
    assert gini([[0]], 1) == 0.0


def test_gini_is_the_mean_difference_of_items(shown):
    counts = np.bincount(shown[0].ravel(), minlength=30)
    differences = sum(abs(a - b) for a, b in itertools.product(counts, counts))
    # The mean absolute difference over twice the mean; n / (n - 1) makes 1 the largest.
    expected = differences / (2 * 30**2 * counts.mean()) * 30 / 29
    assert gini(shown[0], 30) == pytest.approx(expected)


def test_popularity_lift_by_hand():
    popularity = [0, 10, 20, 30]
    # Lists: (20 + 30) / 2 and (0 + 10) / 2, mean 15. Positives: 10, and (20 + 0) / 2: mean 10.
    lift = popularity_lift([[2, 3], [0, 1]], [0, 1, 1], [1, 2, 0], popularity)
    assert lift == pytest.approx(0.5)
    assert popularity_lift([[1]], [0], [1], popularity) == 0.0
    assert np.isnan(popularity_lift([[1]], [0], [0], popularity))


def test_novelty_by_hand():
    # Shares with one more each: 1/8, 5/8, 2/8.
    assert novelty([[0, 2]], [0, 4, 1]) == pytest.approx((3 + 2) / 2)
    assert novelty([[0, 1, 2]], [7, 7, 7]) == pytest.approx(np.log2(3))


def test_diversity_is_the_mean_over_pairs(shown):
    lists, vectors, _ = shown
    pairs = [
        np.mean([1 - vectors[a] @ vectors[b] for a, b in itertools.combinations(row, 2)])
        for row in lists
    ]
    assert intra_list_diversity(lists, vectors) == pytest.approx(np.mean(pairs))
    assert intra_list_diversity([[0, 1]], np.eye(2)) == pytest.approx(1.0)
    assert intra_list_diversity([[0, 1]], [[1.0, 0.0], [1.0, 0.0]]) == pytest.approx(0.0)


def test_all_figures_of_a_task(shown):
    lists, vectors, popularity = shown
    pair_query = np.array([3, 0, 1, 2, 4, 5, 6, 0])
    pair_candidate = np.arange(8)
    figures = list_figures(lists, vectors, pair_query, pair_candidate, popularity, similar=0.3)
    relevance = [
        np.mean(
            [
                max(
                    vectors[one] @ vectors[c]
                    for q, c in zip(pair_query, pair_candidate, strict=True)
                    if q == query
                )
                >= 0.3
                for one in row
            ]
        )
        for query, row in enumerate(lists)
    ]
    assert 0 < figures["relevance@5"] < 1
    assert figures["relevance@5"] == pytest.approx(np.mean(relevance))
    assert figures["coverage@5"] == coverage(lists, 30)
    assert figures["novelty@5"] == novelty(lists, popularity)
    expected = popularity_lift(lists, pair_query, pair_candidate, popularity)
    assert figures["popularity_lift@5"] == expected
    assert "diversity@1" not in list_figures(
        lists[:, :1], vectors, pair_query, pair_candidate, popularity
    )


def test_bad_input(shown):
    with pytest.raises(ValueError, match=r"rows 0 to 2, at least one. Received: 1 to 3"):
        coverage([[1, 3]], 3)
    with pytest.raises(ValueError, match="Received: none"):
        gini(np.zeros((0, 4)), 3)
    with pytest.raises(ValueError, match=r"\[q, 2 or more\] rows. Received: shape \(7, 1\)"):
        intra_list_diversity(shown[0][:, :1], shown[1])
