from itertools import permutations

import numpy as np
import pytest

from tfrs_sage.users import sample_medoids


def test_orders_are_drawn_in_proportion_without_replacement():
    weights, draws = np.array([1.0, 2.0, 5.0]), 20_000
    random = np.random.default_rng(0)
    seen = {order: 0 for order in permutations(range(3), 2)}
    for _ in range(draws):
        seen[tuple(sample_medoids(weights, 2, random).tolist())] += 1
    for (first, second), count in seen.items():
        # e.g. first 2, then 0: 5/8 * 1/3.
        expected = weights[first] / 8 * weights[second] / (8 - weights[first])
        deviation = np.sqrt(expected * (1 - expected) / draws)
        assert abs(count / draws - expected) < 5 * deviation


def test_seed_decides_the_draw():
    weights = np.arange(1.0, 50.0)
    assert sample_medoids(weights, seed=4).tolist() == sample_medoids(weights, seed=4).tolist()
    assert len({tuple(sample_medoids(weights, seed=seed)) for seed in range(20)}) > 10
    assert len(set(sample_medoids(weights).tolist())) == 3


def test_at_most_what_there_is():
    assert sorted(sample_medoids([1.0, 3.0], 5, seed=0).tolist()) == [0, 1]
    assert sample_medoids([0.0, 3.0, 0.0], 2, seed=0).tolist() == [1]
    assert sample_medoids([], 3, seed=0).tolist() == []
    assert sample_medoids([1.0], 0, seed=0).tolist() == []
    assert sample_medoids([1.0], seed=0).dtype == np.int64


def test_tiny_importances_keep_their_proportions():
    # Old actions: exp(-700) or so. The proportion 1 : 9 must survive.
    random = np.random.default_rng(1)
    first = [sample_medoids([1e-305, 9e-305], 1, random)[0] for _ in range(4000)]
    assert abs(np.mean(first) - 0.9) < 0.03


@pytest.mark.parametrize(
    ("importances", "num_samples", "message"),
    [
        ([1.0, -1.0], 3, "Received: -1.0 for cluster 1"),
        ([np.nan], 3, "Received: nan for cluster 0"),
        ([1.0], -1, "`num_samples` must be 0 or more. Received: -1"),
        ([[1.0]], 3, r"vector \[c\]"),
    ],
)
def test_bad_input(importances, num_samples, message):
    with pytest.raises(ValueError, match=message):
        sample_medoids(importances, num_samples)
