"""The table of methods against hand computation and planted users."""

import numpy as np
import pytest

from tests.users.test_protocol import planted
from tfrs_sage.errors import InputError
from tfrs_sage.evaluation.intervals import bootstrap_interval
from tfrs_sage.report.users_protocol import compare, evaluate_users, similar_share
from tfrs_sage.report.users_tables import told
from tfrs_sage.users.config import ClusterConfig
from tfrs_sage.users.protocol import METRICS
from tfrs_sage.users.retrieval import Catalogue


def scores_of(**recalls):
    """Methods by their recall of each user; the other metrics are half of it."""
    return {
        name: {
            **{metric: np.array(values) / (1 if metric == "recall" else 2) for metric in METRICS},
            "num_clusters": np.arange(len(values), dtype=float),
        }
        for name, values in recalls.items()
    }


def test_lift_and_its_interval_by_hand() -> None:
    last, ours = [0.2, 0.4, 0.1, 0.5], [0.3, 0.5, 0.4, 0.5]
    found = compare(scores_of(last_item=last, pinnersage=ours), seed=3, num_samples=50)
    random = np.random.default_rng(3)
    lifts, differences = [], []
    for _ in range(50):
        drawn = random.integers(4, size=4)
        base, mine = np.mean([last[i] for i in drawn]), np.mean([ours[i] for i in drawn])
        lifts.append(mine / base - 1)
        differences.append(mine - base)
    one = found["methods"]["pinnersage"]["recall"]
    assert one["mean"] == pytest.approx(1.7 / 4)
    assert one["lift"]["mean"] == pytest.approx(1.7 / 1.2 - 1)
    ends = np.quantile(lifts, [0.025, 0.975])
    assert (one["lift"]["low"], one["lift"]["high"]) == pytest.approx(tuple(ends))
    difference = found["order"]["recall"]["pinnersage - last_item"]
    ends = np.quantile(differences, [0.025, 0.975])
    assert difference["mean"] == pytest.approx(0.125)
    assert (difference["low"], difference["high"]) == pytest.approx(tuple(ends))
    assert found["methods"]["pinnersage"]["num_clusters"] == 1.5
    assert found["methods"]["last_item"]["recall"]["lift"] == {"mean": 0, "low": 0, "high": 0}
    # Half the figures on both sides: the same lift, half the difference.
    other = found["methods"]["pinnersage"]["relevance"]
    assert other["lift"] == pytest.approx(one["lift"])


@pytest.mark.parametrize("num_samples", [7, 100, 250])
def test_intervals_are_those_of_the_evaluation(num_samples) -> None:
    values = np.random.default_rng(0).random(30)
    found = compare(scores_of(last_item=values), seed=5, num_samples=num_samples)
    one = found["methods"]["last_item"]["recall"]
    wanted = bootstrap_interval(values, num_samples=num_samples, seed=5)
    assert (one["low"], one["high"]) == pytest.approx(wanted)


def test_no_lift_over_nothing() -> None:
    found = compare(scores_of(last_item=[0.0, 0.0], pinnersage=[0.5, 0.1]))
    assert found["methods"]["pinnersage"]["recall"]["lift"] is None
    # Some resamples draw the first user alone.
    found = compare(scores_of(last_item=[0.0, 0.4], pinnersage=[0.5, 0.1]))
    assert found["methods"]["pinnersage"]["recall"]["lift"] is None


def test_planted_users_come_out_in_order() -> None:
    users, catalogue = planted()
    config = ClusterConfig(num_candidates=20)
    found = evaluate_users(iter(users), catalogue, config)
    assert found["num_users"] == len(users)
    assert set(found["methods"]) == {
        "last_item", "decayed_average", "kmeans", "complete_linkage", "centroid", "decay_0",
        "decay_0.1", "sample_1", "pinnersage", "all_clusters", "oracle",
    }  # fmt: skip
    assert found["order"]["recall"]["pinnersage - decayed_average"]["low"] > 0
    assert found["order"]["recall"]["pinnersage - last_item"]["low"] > 0
    ours = found["methods"]["pinnersage"]
    assert ours["num_clusters"] == 4
    assert ours["recall"]["low"] < ours["recall"]["mean"] < ours["recall"]["high"]
    # 12 interests of 40 items that are alike: 39 of the 479 others.
    assert found["catalogue"] == {"num_items": 480, "similar_share": pytest.approx(39 / 479)}
    _, order, chance = told({"split": "test", **found}, config)
    assert chance.startswith("By chance: 8.1% of the pairs")
    assert "above" in next(iter(order.columns[2].cells))


def test_similar_share_of_few() -> None:
    vectors = np.random.default_rng(1).normal(size=(50, 3))
    catalogue = Catalogue([str(row) for row in range(50)], vectors)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    near = [unit[i] @ unit[j] >= 0.8 for i in range(50) for j in range(50) if i != j]
    assert 0 < np.mean(near) < 1
    assert similar_share(catalogue) == pytest.approx(np.mean(near))
    assert similar_share(Catalogue(["a"], vectors[:1])) == 0.0


def test_nobody_is_refused() -> None:
    _, catalogue = planted(num_users=1)
    with pytest.raises(InputError, match=r"before and in the split\. Found: none"):
        evaluate_users([], catalogue, ClusterConfig())
