import json

import numpy as np
import pytest

from tfrs_sage.errors import InputError
from tfrs_sage.users import (
    Actions,
    Cluster,
    ClusterConfig,
    UserClusters,
    cluster_user,
    cluster_users,
    importance,
    medoids,
    ward,
)

DAY = 86_400.0
NOW = 1_700_000_000.0


def history(num_actions, seed=0, dim=8):
    """Actions of a user of three interests over the last 60 days, in no order."""
    random = np.random.default_rng(seed)
    interest = random.integers(3, size=num_actions)
    vectors = np.eye(3, dim)[interest] + random.normal(scale=0.05, size=(num_actions, dim))
    times = NOW - random.uniform(0, 60, num_actions) * DAY
    weights = random.uniform(0.5, 3.0, num_actions)
    return Actions([f"item{row}" for row in range(num_actions)], vectors, times, weights)


def test_hand_worked_user():
    # Two interests; the second is larger, but twenty times as old.
    actions = Actions(
        ["a", "b", "c", "d", "b"],
        [[0.0, 1.0], [5.0, 0.0], [5.1, 0.0], [0.0, 1.0], [5.0, 0.0]],
        [NOW, NOW - 40 * DAY, NOW - 50 * DAY, NOW - 2 * DAY, NOW - 30 * DAY],
    )
    user = cluster_user("u", actions, ClusterConfig(decay=0.1), NOW, keep_members=True)
    assert user.user_id == "u" and user.as_of == NOW and user.num_actions == 5
    first, second = user.clusters
    # Equal vectors: the earlier action stands for both.
    assert (first.medoid_id, first.size, first.member_ids) == ("d", 2, ("d", "a"))
    assert (first.first_time, first.last_time) == (NOW - 2 * DAY, NOW)
    assert first.importance == pytest.approx(1 + np.exp(-0.2))
    assert (second.medoid_id, second.size, second.member_ids) == ("b", 3, ("c", "b", "b"))
    assert second.importance == pytest.approx(np.exp(-3) + np.exp(-4) + np.exp(-5))


def test_is_made_of_the_parts():
    actions = history(60)
    config = ClusterConfig(threshold=1.5)
    user = cluster_user("u", actions, config, NOW, keep_members=True)
    row = {item: place for place, item in enumerate(actions.item_ids)}
    assert 2 < len(user.clusters) < 20
    assert sorted(item for one in user.clusters for item in one.member_ids) == sorted(row)
    oldest_first = np.argsort(actions.times)
    labels = ward(actions.vectors[oldest_first], 1.5)
    expected = {
        actions.item_ids[oldest_first[place]]: set(
            np.array(actions.item_ids)[oldest_first][labels == label]
        )
        for label, place in enumerate(medoids(actions.vectors[oldest_first], labels))
    }
    assert {one.medoid_id: set(one.member_ids) for one in user.clusters} == expected
    for one in user.clusters:
        rows = [row[item] for item in one.member_ids]
        assert one.size == len(rows)
        assert one.first_time == actions.times[rows].min() == actions.times[rows[0]]
        assert one.last_time == actions.times[rows].max()
        decayed = np.exp(-0.01 * (NOW - actions.times[rows]) / DAY)
        assert one.importance == pytest.approx(np.sum(actions.weights[rows] * decayed))
    values = [one.importance for one in user.clusters]
    assert values == sorted(values, reverse=True)


def test_importance_with_weights_of_one_is_that_of_the_paper():
    actions = history(40)
    actions = Actions(actions.item_ids, actions.vectors, actions.times)
    user = cluster_user("u", actions, ClusterConfig(), NOW)
    ages = (NOW - actions.times) / DAY
    expected = importance(ward(actions.vectors, 1.0), ages)
    np.testing.assert_allclose(
        sorted(one.importance for one in user.clusters), sorted(expected), rtol=1e-6
    )


def test_order_of_the_actions_changes_nothing():
    actions = history(80, seed=3)
    actions = Actions(actions.item_ids, actions.vectors, np.round(actions.times / (9 * DAY)) * DAY)
    shuffled = actions.take(np.random.default_rng(0).permutation(80))
    config = ClusterConfig(window_days=1e6)
    user = cluster_user("u", actions, config, NOW, keep_members=True)
    assert cluster_user("u", shuffled, config, NOW, keep_members=True) == user


def test_window_future_and_cap():
    times = NOW - np.array([-1.0, 0.0, 1.0, 10.0, 89.999, 90.0, 200.0]) * DAY
    actions = Actions(list("abcdefg"), np.eye(7), times)
    taken = actions.recent(NOW, window_days=90, max_actions=100)
    assert taken.item_ids == ("e", "d", "c", "b")
    np.testing.assert_array_equal(taken.vectors, np.eye(7)[[4, 3, 2, 1]])
    assert actions.recent(NOW, 90, 2).item_ids == ("c", "b")
    config = ClusterConfig(max_actions=3)
    user = cluster_user("u", actions, config, NOW, keep_members=True)
    assert user.num_actions == 3
    assert {one.member_ids for one in user.clusters} == {("d",), ("c",), ("b",)}


def test_no_action_and_one_action():
    nothing = Actions([], np.zeros((0, 4)), [])
    assert cluster_user("u", nothing, ClusterConfig(), NOW) == UserClusters("u", (), NOW, 0)
    one = Actions(["a"], [[1.0, 2.0]], [NOW - DAY], [2.0])
    found = cluster_user("u", one, ClusterConfig(), NOW)
    assert found.clusters == (
        Cluster("a", 1, pytest.approx(2 * np.exp(-0.01)), NOW - DAY, NOW - DAY),
    )
    assert cluster_user("u", one, ClusterConfig(), NOW - 2 * DAY).clusters == ()


def test_all_equal_vectors_are_one_cluster_whatever_the_threshold():
    same = Actions([f"i{row}" for row in range(3000)], np.ones((3000, 16)), NOW - np.arange(3000.0))
    found = cluster_user("u", same, ClusterConfig(threshold=0, max_actions=3000), NOW)
    assert [(one.medoid_id, one.size) for one in found.clusters] == [("i2999", 3000)]


@pytest.mark.parametrize("method", ["ward", "complete", "kmeans"])
def test_many_users_are_each_user(method):
    config = ClusterConfig(method=method, num_clusters=3)
    users = [(f"u{size}", history(size, seed=size)) for size in (1, 50, 0, 7, 300, 20)]
    found = cluster_users(users, config, NOW, keep_members=True)
    assert found == [cluster_user(*user, config, NOW, keep_members=True) for user in users]
    assert cluster_users([], config, NOW) == []


def test_equally_important_clusters_stand_latest_first():
    actions = Actions(["a", "b", "c"], np.eye(3) * 9, [NOW - 3, NOW - 1, NOW - 1])
    found = cluster_user("u", actions, ClusterConfig(decay=0), NOW)
    assert [one.medoid_id for one in found.clusters] == ["b", "c", "a"]


def test_not_finite_vector_names_user_and_item():
    actions = Actions(["a", "b"], [[0.0], [np.nan]], [NOW, NOW - DAY])
    with pytest.raises(InputError, match="item 'b' of user 'u7'"):
        cluster_user("u7", actions, ClusterConfig(), NOW)
    # What is not taken is not looked at.
    assert cluster_user("u7", actions, ClusterConfig(max_actions=1), NOW).num_actions == 1


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ((["a"], np.zeros((2, 3)), [0.0]), r"1 ids, shapes \(2, 3\), \(1,\) and \(1,\)"),
        ((["a"], np.zeros(3), [0.0]), r"shapes \(3,\)"),
        ((["a"], np.zeros((1, 3)), [0.0, 1.0]), r"\(2,\) and \(1,\)"),
        ((["a"], np.zeros((1, 3)), [np.inf]), "Times must be finite. Received: inf"),
        ((["a"], np.zeros((1, 3)), [0.0], [0.0]), "above 0.*Received: 0.0"),
        ((["a"], np.zeros((1, 3)), [0.0], [np.nan]), "above 0.*Received: nan"),
    ],
)
def test_bad_actions(columns, message):
    with pytest.raises(ValueError, match=message):
        Actions(*columns)


@pytest.mark.parametrize("keep_members", [False, True])
def test_json_round_trip(keep_members):
    user = cluster_user("ü\n1", history(30), ClusterConfig(), NOW, keep_members)
    text = user.to_json()
    assert UserClusters.from_json(text) == user == UserClusters.from_json(text.encode())
    assert "\n" not in text
    fields = json.loads(text)
    assert list(fields) == ["user_id", "clusters", "as_of", "num_actions"]
    assert fields["clusters"][0]["medoid_id"] == user.clusters[0].medoid_id


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"user_id": "u", "clusters": [], "as_of": 0.0}',
        '{"user_id": "u", "clusters": [], "as_of": 0.0, "num_actions": 0, "more": 1}',
        '{"user_id": "u", "clusters": [{"size": 1}], "as_of": 0.0, "num_actions": 0}',
    ],
)
def test_other_json_is_refused(text):
    with pytest.raises(InputError, match="JSON of UserClusters"):
        UserClusters.from_json(text)


def test_unknown_setting_names_the_nearest():
    with pytest.raises(ValueError, match="nearest known key is 'threshold'"):
        ClusterConfig(treshold=1.0)
    for values in ({"threshold": -1}, {"decay": -0.1}, {"action_weights": {"click": -1}}):
        with pytest.raises(ValueError):
            ClusterConfig(**values)
