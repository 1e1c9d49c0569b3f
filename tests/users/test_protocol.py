import tracemalloc

import numpy as np
import pytest

from tfrs_sage.evaluation.lists import similar_shares
from tfrs_sage.users import Actions, ClusterConfig, retrieval
from tfrs_sage.users.alternatives import Queries, methods
from tfrs_sage.users.protocol import (
    METRICS,
    UserSplit,
    evaluate_methods,
    ranking_scores,
    split_user,
    summary,
)
from tfrs_sage.users.retrieval import Catalogue, retrieve

DAY = 86_400.0
NOW = 1_700_000_000.0


def catalogue_of(num_items, dim=8, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(num_items, dim))
    return Catalogue([f"i{row}" for row in range(num_items)], vectors)


def cosine(left, right):
    return float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))


def planted(num_users=30, num_interests=12, items_each=40, dim=32, seed=0):
    """Users of four interests each, who go on with them; items of an interest lie together."""
    random = np.random.default_rng(seed)
    centres = np.linalg.qr(random.normal(size=(dim, dim)))[0][:num_interests]
    of = np.repeat(np.arange(num_interests), items_each)
    catalogue = Catalogue(
        [f"i{row}" for row in range(len(of))],
        centres[of] + random.normal(scale=0.05, size=(len(of), dim)),
    )
    users = []
    for user in range(num_users):
        interests = random.choice(num_interests, 4, replace=False)
        # Half of each interest's items, so that there are others to find.
        rows = random.choice(
            np.flatnonzero(np.isin(of, interests) & (np.arange(len(of)) % 2 == 0)), 40
        )
        later = random.choice(np.flatnonzero(np.isin(of, interests)), 10)
        both = np.concatenate([rows, later])
        times = NOW - np.concatenate([random.uniform(0, 60, 40), -random.uniform(0.1, 5, 10)]) * DAY
        actions = Actions([f"i{row}" for row in both], catalogue.vectors[both], times)
        users.append(split_user(f"u{user}", actions, NOW, ClusterConfig()))
    return users, catalogue


def test_split_is_at_the_moment():
    times = NOW + np.array([-100.0, -1.0, 0.0, 0.001, 14.0, 14.001]) * DAY
    actions = Actions(list("abcdef"), np.eye(6), times)
    split = split_user("u", actions, NOW, ClusterConfig())
    assert (split.past.item_ids, split.future.item_ids) == (("b", "c"), ("d", "e"))
    assert split_user("u", actions, NOW - 101 * DAY, ClusterConfig()) is None
    assert split_user("u", actions, NOW + 20 * DAY, ClusterConfig()) is None


def test_queries_take_turns_by_weight():
    # On a circle, item i at i degrees: a query at 10 ranks 10, 9, 11, ...; ties by row.
    angles = np.deg2rad(np.arange(90))
    catalogue = Catalogue(
        [str(row) for row in range(90)], np.stack([np.cos(angles), np.sin(angles)], 1)
    )
    both = Queries(catalogue.vectors[[10, 60]] * 7, np.array([1.0, 2.0]), 2)
    shown = retrieve(catalogue, [both], [np.array([61])], 6)[0]
    # Places of the second: 1/2, 1, 3/2, 2, ...; of the first: 1, 2, ...: of equal ones the heavier.
    assert shown[:2].tolist() == [60, 59] and shown[2] == 10
    assert set(shown[3:].tolist()) < {62, 58, 57, 63, 9, 11}
    assert np.isin(shown, [60, 59, 62, 58, 57]).sum() == 4
    assert len(retrieve(catalogue, [both], [np.arange(85)], 60)[0]) == 5
    assert retrieve(catalogue, [both], [np.arange(90)], 60)[0].tolist() == []


def brute_retrieval(catalogue, query, excluded, num_items):
    places = {}
    for vector, weight in zip(query.vectors, query.weights, strict=True):
        left = [row for row in range(len(catalogue.vectors)) if row not in excluded]
        left.sort(key=lambda row: -cosine(catalogue.vectors[row], vector))
        for rank, row in enumerate(left):
            places[row] = min(places.get(row, np.inf), (rank + 1) / weight)
    return sorted(places, key=places.get)[:num_items]


@pytest.mark.parametrize("block", [1, 500, 1 << 24])
def test_retrieval_is_the_definition(monkeypatch, block):
    monkeypatch.setattr(retrieval, "BLOCK_ELEMENTS", block)
    random = np.random.default_rng(1)
    catalogue = catalogue_of(120)
    # Weights without a common measure: no two places are equal.
    queries = [
        Queries(random.normal(size=(count, 8)), random.uniform(0.5, 2, count), count)
        for count in (1, 3, 7, 2)
    ]
    excluded = [random.choice(120, size, replace=False) for size in (0, 5, 100, 40)]
    found = retrieve(catalogue, queries, excluded, 50)
    for query, rows, out in zip(queries, found, excluded, strict=True):
        assert rows.tolist() == brute_retrieval(catalogue, query, set(out.tolist()), 50)


def test_shares_are_counted():
    random = np.random.default_rng(2)
    retrieved, future = random.normal(size=(40, 3)), random.normal(size=(7, 3))
    near = [[cosine(one, other) >= 0.8 for other in future] for one in retrieved]
    relevance = sum(any(row) for row in near) / 40
    recall = sum(any(near[i][j] for i in range(40)) for j in range(7)) / 7
    units = [one / np.linalg.norm(one, axis=1, keepdims=True) for one in (retrieved, future)]
    assert 0 < relevance < 1
    assert similar_shares(*units, 0.8) == pytest.approx((relevance, recall))
    assert similar_shares(units[0][:0], units[1], 0.8) == (0.0, 0.0)


def test_ranking_is_counted():
    random = np.random.default_rng(3)
    others, future = random.normal(size=(30, 5)), random.normal(size=(6, 5))
    queries = Queries(random.normal(size=(4, 5)), np.ones(4), 4)
    best = [max(cosine(item, one) for one in queries.vectors) for item in [*others, *future]]
    ranked = sorted(range(36), key=lambda row: -best[row])
    ranks = [ranked.index(30 + row) + 1 for row in range(6)]
    units = [one / np.linalg.norm(one, axis=1, keepdims=True) for one in (others, future)]
    r_precision = sum(rank <= 6 for rank in ranks) / 6
    reciprocal = sum(1 / rank for rank in ranks) / 6
    assert ranking_scores(queries, *units) == pytest.approx((r_precision, reciprocal))


def test_random_items_win_ties():
    same = np.ones((3, 2), np.float32) / np.sqrt(2, dtype=np.float32)
    found = ranking_scores(Queries(same[:1], np.ones(1), 1), same, same[:1])
    assert found == (0.0, 0.25)


def test_pieces_are_put_together():
    users, catalogue = planted(num_users=5)
    chosen = {"last_item": methods(ClusterConfig())["last_item"]}
    found = evaluate_methods(users, catalogue, chosen, num_items=30)["last_item"]
    for place, user in enumerate(users):
        excluded = set(catalogue.rows_of(user.past.item_ids).tolist())
        query = Queries(user.past.vectors[-1:], np.ones(1), 1)
        rows = brute_retrieval(catalogue, query, excluded, 30)
        near = [
            [cosine(catalogue.vectors[row], one) >= 0.8 for one in user.future.vectors]
            for row in rows
        ]
        assert found["relevance"][place] == pytest.approx(np.mean([any(row) for row in near]))
        assert found["recall"][place] == pytest.approx(np.mean(np.any(near, axis=0)))
        assert found["num_clusters"][place] == 1


def test_planted_interests_order_the_methods():
    users, catalogue = planted()
    found = evaluate_methods(users, catalogue, methods(ClusterConfig()), num_items=20)
    assert all(values.shape == (30,) for one in found.values() for values in one.values())
    mean = {name: {key: one[key].mean() for key in METRICS} for name, one in found.items()}
    # One interest of four: about a quarter of what comes. Three drawn: about three quarters.
    assert 0.1 < mean["last_item"]["recall"] < 0.4
    assert 0.6 < mean["pinnersage"]["recall"] < 0.9
    assert mean["sample_1"]["recall"] < 0.4
    assert mean["oracle"]["recall"] >= mean["pinnersage"]["recall"]
    assert mean["all_clusters"]["recall"] > 0.95
    assert mean["pinnersage"]["reciprocal_rank"] > mean["last_item"]["reciprocal_rank"]
    np.testing.assert_array_equal(found["pinnersage"]["num_clusters"], 4)
    low = summary(found["pinnersage"])["recall"]
    assert low[1] < low[0] < low[2] and low[1] > summary(found["last_item"])["recall"][2]


def test_seed_and_blocks(monkeypatch):
    users, catalogue = planted(num_users=9)
    chosen = {"pinnersage": methods(ClusterConfig())["pinnersage"]}
    first = evaluate_methods(users, catalogue, chosen, num_items=20)
    monkeypatch.setattr("tfrs_sage.users.protocol.BLOCK_USERS", 2)
    again = evaluate_methods(iter(users), catalogue, chosen, num_items=20)
    other = evaluate_methods(users, catalogue, chosen, num_items=20, seed=1)
    for metric in METRICS:
        np.testing.assert_array_equal(first["pinnersage"][metric], again["pinnersage"][metric])
    assert (first["pinnersage"]["recall"] != other["pinnersage"]["recall"]).any()
    nobody = evaluate_methods([], catalogue, chosen)
    assert nobody["pinnersage"]["recall"].shape == (0,)


def test_memory_does_not_grow_with_users(monkeypatch):
    monkeypatch.setattr("tfrs_sage.users.protocol.BLOCK_USERS", 4)
    users, catalogue = planted(num_users=4)
    chosen = {"pinnersage": methods(ClusterConfig())["pinnersage"]}

    def peak(repeats):
        tracemalloc.start()
        evaluate_methods((one for _ in range(repeats) for one in users), catalogue, chosen)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(12) < 1.1 * peak(3)


def test_item_outside_of_the_catalogue_is_no_trouble():
    users, catalogue = planted(num_users=1)
    past = users[0].past
    strange = Actions(["?", *past.item_ids[1:]], past.vectors, past.times)
    split = UserSplit("u", strange, users[0].future, NOW)
    found = evaluate_methods([split], catalogue, methods(ClusterConfig()))
    assert np.isfinite([values for one in found.values() for values in one.values()]).all()


@pytest.mark.parametrize(
    ("ids", "vectors", "message"),
    [
        (["a", "a"], np.eye(2), "2 ids, 1 different"),
        (["a"], np.eye(2), r"1 ids, 1 different, shape \(2, 2\)"),
        (["a"], [[np.nan]], "NaN or infinity"),
    ],
)
def test_bad_catalogue(ids, vectors, message):
    with pytest.raises(ValueError, match=message):
        Catalogue(ids, vectors)
