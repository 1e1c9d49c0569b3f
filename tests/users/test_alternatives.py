import numpy as np
import pytest

from tfrs_sage.users import Actions, ClusterConfig, medoids, ward
from tfrs_sage.users.alternatives import (
    Past,
    all_clusters,
    decayed_average,
    last_item,
    methods,
    oracle,
    sampled,
)

DAY = 86_400.0
NOW = 1_700_000_000.0


@pytest.fixture
def past():
    random = np.random.default_rng(0)
    interest = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 3])
    vectors = np.eye(4, 8)[interest] + random.normal(scale=0.02, size=(10, 8))
    times = NOW - np.arange(10.0, 0.0, -1.0) * DAY
    actions = Actions([f"i{row}" for row in range(10)], vectors, times)
    return Past(actions, NOW, actions.vectors[[9, 9, 7]], seed=(1, 2))


def rows_of(past, queries):
    """The row of the action that each query is."""
    return [
        int(np.flatnonzero((past.actions.vectors == one).all(axis=1))[0]) for one in queries.vectors
    ]


def test_every_method_gives_queries(past):
    found = {name: method(past) for name, method in methods(ClusterConfig()).items()}
    assert list(found) == [
        "last_item", "decayed_average", "kmeans", "complete_linkage", "centroid", "decay_0",
        "decay_0.1", "sample_1", "pinnersage", "all_clusters", "oracle",
    ]  # fmt: skip
    for queries in found.values():
        assert queries.vectors.shape == (len(queries.weights), 8)
        assert (queries.weights > 0).all()
    counts = {name: len(queries.weights) for name, queries in found.items()}
    assert counts["last_item"] == counts["decayed_average"] == counts["sample_1"] == 1
    assert counts["pinnersage"] == counts["oracle"] == counts["centroid"] == 3
    assert counts["all_clusters"] == found["pinnersage"].num_clusters == 4
    assert {"decay_0.01", "sample_3"} <= set(methods(ClusterConfig(decay=0.5, num_samples=2)))


def test_last_item_is_the_newest(past):
    assert rows_of(past, last_item(past)) == [9]


def test_decayed_average_is_the_weighted_mean(past):
    config = ClusterConfig(decay=0.3)
    weights = [np.exp(-0.3 * age) for age in range(10, 0, -1)]
    expected = np.average(past.actions.vectors, axis=0, weights=weights)
    np.testing.assert_allclose(decayed_average(past, config).vectors[0], expected, rtol=1e-5)
    # A decay that leaves nothing but the newest action is still an average.
    extreme = decayed_average(past, ClusterConfig(decay=1e4)).vectors[0]
    np.testing.assert_allclose(extreme, past.actions.vectors[9], rtol=1e-6)


def test_all_clusters_are_the_medoids_by_importance(past):
    found = all_clusters(past, ClusterConfig(decay=0.0))
    labels = ward(past.actions.vectors, 1.0)
    assert rows_of(past, found) == medoids(past.actions.vectors, labels).tolist()
    np.testing.assert_allclose(found.weights, [4, 3, 2, 1])


def test_sampled_draws_in_proportion(past):
    config = ClusterConfig(decay=0.0, num_samples=1)
    first = [
        rows_of(past, sampled(Past(past.actions, NOW, past.future, (0, draw)), config))[0]
        for draw in range(600)
    ]
    assert np.mean(np.array(first) < 4) == pytest.approx(0.4, abs=0.07)
    assert np.mean(np.array(first) == 9) == pytest.approx(0.1, abs=0.05)


def test_same_seed_same_clusters_for_medoid_and_centroid(past):
    config = ClusterConfig()
    medoid, centroid = sampled(past, config), sampled(past, config, centroids=True)
    labels = ward(past.actions.vectors, 1.0)
    for row, mean in zip(rows_of(past, medoid), centroid.vectors, strict=True):
        inside = past.actions.vectors[labels == labels[row]]
        np.testing.assert_allclose(mean, inside.mean(axis=0), rtol=1e-4, atol=1e-6)


def test_oracle_takes_what_the_future_takes(past):
    found = rows_of(past, oracle(past, ClusterConfig(num_samples=2)))
    labels = ward(past.actions.vectors, 1.0)
    # Interest 3 twice, interest 2 once; of the others the more important would follow.
    assert labels[found].tolist() == [3, 2]
    assert labels[rows_of(past, oracle(past, ClusterConfig()))].tolist()[2] == 0


def test_clusterings_are_made_once(past, monkeypatch):
    calls = []
    from tfrs_sage.users import alternatives

    real = alternatives.cluster_labels
    monkeypatch.setattr(
        alternatives, "cluster_labels", lambda *given: calls.append(1) or real(*given)
    )
    for method in methods(ClusterConfig()).values():
        method(past)
    assert len(calls) == 3  # ward, complete, kmeans
