"""The grid of thresholds and what is chosen from it."""

import numpy as np
import pytest
from scipy.cluster.hierarchy import linkage

from tests.users.test_protocol import NOW, planted
from tfrs_sage.errors import InputError
from tfrs_sage.report.users_sweep import chosen, geometric_mean, merge_heights, threshold_grid
from tfrs_sage.users.clustering import ward
from tfrs_sage.users.clusters import Actions
from tfrs_sage.users.config import ClusterConfig
from tfrs_sage.users.protocol import UserSplit
from tfrs_sage.users.sweep import ThresholdScores, sweep_thresholds


def user_of(vectors):
    ids = [str(row) for row in range(len(vectors))]
    actions = Actions(ids, vectors, np.full(len(ids), NOW))
    return UserSplit("u", actions, actions, NOW)


def scores(threshold, relevance, recall, clusters):
    every = [(value, value, value) for value in (relevance, recall, clusters)]
    return ThresholdScores(threshold, *every, (clusters,) * 3, 1)


@pytest.mark.parametrize("method", ["ward", "complete"])
@pytest.mark.parametrize("scale", [1.0, 1e-25])
def test_heights_are_scipys_squared(method, scale) -> None:
    vectors = np.random.default_rng(0).normal(size=(30, 5)) * scale
    wanted = np.sort(linkage(vectors, method)[:, 2] ** 2)
    np.testing.assert_allclose(merge_heights(vectors, method), wanted, rtol=1e-4)
    assert merge_heights(vectors[:1], method).shape == (0,)


def test_grid_spans_all_merges() -> None:
    random = np.random.default_rng(1)
    users = [user_of(random.normal(size=(size, 4))) for size in (1, 2, 40, 60)]
    grid = threshold_grid(iter(users), ClusterConfig(threshold=0.123))
    assert grid == sorted(set(grid)) and grid[0] == 0 and 0.123 in grid
    for user in users:
        counts = [len(set(ward(user.past.vectors, one).tolist())) for one in grid]
        assert counts[0] == len(user.past) and counts[-1] == 1
    # Of the longest, no step skips more than half of the clusters that are left.
    steps = np.array(counts[1:]) / np.array(counts[:-1])
    assert steps.min() >= 0.4


def test_grid_of_equal_items() -> None:
    assert threshold_grid([user_of(np.ones((3, 2)))], ClusterConfig(threshold=2.0)) == [0.0, 2.0]


def test_sweep_chooses_the_planted_threshold() -> None:
    # Items of an interest lie 0.005 apart, interests 2: four clusters, of which four are drawn.
    users, catalogue = planted(num_users=12)
    config = ClusterConfig(num_candidates=60, num_samples=4, threshold=0.0)
    grid = threshold_grid(users, config)
    best = chosen(sweep_thresholds(users, catalogue, grid, config))
    assert best.clusters == (4.0, 4.0, 4.0)
    heights = [np.sort(merge_heights(user.past.vectors, "ward")) for user in users]
    assert max(one[-4] for one in heights) <= best.threshold < min(one[-3] for one in heights)


def test_rule() -> None:
    both = scores(1.0, 0.4, 0.4, 5.0)
    assert geometric_mean(scores(1.0, 0.2, 0.8, 1.0)) == pytest.approx(0.4)
    assert chosen([scores(0.0, 0.9, 0.1, 9.0), both, scores(9.0, 0.1, 0.9, 1.0)]) is both
    fewer = scores(2.0, 0.4, 0.4, 3.0)
    assert chosen([both, fewer, scores(3.0, 0.3, 0.4, 2.0)]) is fewer
    wider = scores(2.5, 0.4, 0.4, 3.0)
    assert chosen([wider, both, fewer]) is wider
    assert geometric_mean(scores(1.0, 0.0, 0.0, 1.0)) == 0


def test_what_is_refused() -> None:
    users = [user_of(np.eye(3))]
    with pytest.raises(InputError, match="Received: method 'kmeans'"):
        threshold_grid(users, ClusterConfig(method="kmeans"))
    with pytest.raises(InputError, match="users with two actions"):
        threshold_grid([user_of(np.eye(3)[:1])], ClusterConfig())
