import numpy as np
import pytest

from tests.users.test_protocol import planted
from tfrs_sage.errors import InputError
from tfrs_sage.users import ClusterConfig
from tfrs_sage.users.alternatives import methods
from tfrs_sage.users.protocol import evaluate_methods
from tfrs_sage.users.sweep import sweep_thresholds


def test_planted_interests_are_where_the_sweep_finds_them():
    users, catalogue = planted(num_users=12)
    thresholds = [0.0, 1.0, 1000.0]
    apart, right, one = sweep_thresholds(
        iter(users), catalogue, thresholds, ClusterConfig(num_candidates=20)
    )
    assert [found.threshold for found in (apart, right, one)] == thresholds
    assert right.clusters == (4.0, 4.0, 4.0) and right.clusters_quantiles == (4.0, 4.0, 4.0)
    assert apart.clusters[0] > 20 and one.clusters[0] == 1
    assert right.num_users == 12
    assert right.recall[0] > one.recall[0]
    for found in (apart, right, one):
        assert found.recall[1] <= found.recall[0] <= found.recall[2]


def test_is_the_protocol_at_each_threshold():
    users, catalogue = planted(num_users=6)
    for found in sweep_thresholds(users, catalogue, [0.5, 2.5], ClusterConfig(num_candidates=50)):
        config = ClusterConfig(num_candidates=50, threshold=found.threshold)
        chosen = {"pinnersage": methods(config)["pinnersage"]}
        scores = evaluate_methods(users, catalogue, chosen, 50)["pinnersage"]
        assert found.recall[0] == pytest.approx(scores["recall"].mean())
        assert found.relevance[0] == pytest.approx(scores["relevance"].mean())
        assert found.clusters[0] == pytest.approx(scores["num_clusters"].mean())


def test_bad_sweeps():
    users, catalogue = planted(num_users=1)
    for thresholds in ([], [-1.0], [np.nan]):
        with pytest.raises(InputError, match="squared distances"):
            sweep_thresholds(users, catalogue, thresholds, ClusterConfig())
    with pytest.raises(InputError, match="Received: none"):
        sweep_thresholds([], catalogue, [1.0], ClusterConfig())
    with pytest.raises(InputError, match="kmeans"):
        sweep_thresholds(users, catalogue, [1.0], ClusterConfig(method="kmeans"))
