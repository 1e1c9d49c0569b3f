"""Recommendations: planted interests, what is left out, the draw, the protocol's answer."""

import dataclasses
import threading
from collections import Counter

import numpy as np
import pytest

from tests.users.planted import (
    CONFIG,
    DEPTH,
    LIKED,
    NOW,
    VECTORS,
    axis_of,
    candidates,
    planted_user,
)
from tests.users.stores import cluster
from tfrs_sage.errors import InputError
from tfrs_sage.users.alternatives import Queries
from tfrs_sage.users.candidates import acted_on
from tfrs_sage.users.clusters import UserClusters
from tfrs_sage.users.config import ClusterConfig
from tfrs_sage.users.medoid_cache import MedoidCache
from tfrs_sage.users.online import Event, apply_event
from tfrs_sage.users.recommend import Recommender
from tfrs_sage.users.retrieval import Catalogue, retrieve
from tfrs_sage.users.sampling import sample_medoids
from tfrs_sage.users.sqlite_store import SqliteStore
from tfrs_sage.users.store import StoredUser

POPULAR = [(f"3.{number}", 40 - number) for number in range(40)]


@pytest.fixture
def make(tmp_path):
    """A recommender whose store has the planted user."""
    stores = []

    def made(config: ClusterConfig = CONFIG, extra=None, user=None) -> Recommender:
        store = SqliteStore(tmp_path / f"users{len(stores)}.sqlite")
        stores.append(store)
        store.update("u", lambda _: user or planted_user())
        return Recommender(store, candidates(extra), config, POPULAR, MedoidCache())

    yield made
    for store in stores:
        store.close()


def test_two_interests_take_turns_and_each_item_names_its_medoid(make) -> None:
    found = make().recommend("u", seed=1)
    assert (found.source, len(found.items)) == ("medoids", CONFIG.num_candidates)
    medoids = [one.medoid_id for one in found.medoids]
    assert {axis_of(one) for one in medoids} == {"0", "1"}
    # By hand: the first is the nearest to the first medoid, then the medoids take turns.
    for place, item in enumerate(found.items):
        assert item.medoid_id == medoids[place % 2]
        assert axis_of(item.item_id) == axis_of(item.medoid_id)
        dot = float(VECTORS[item.item_id] @ VECTORS[item.medoid_id])
        assert item.score == pytest.approx(dot, abs=1e-6)
    for medoid in medoids:
        scores = [item.score for item in found.items if item.medoid_id == medoid]
        assert scores == sorted(scores, reverse=True)


def test_what_was_acted_on_is_left_out_and_counted(make) -> None:
    recommender = make()
    found = recommender.recommend("u", seed=1)
    assert not {item.item_id for item in found.items} & set(LIKED)
    assert found.num_acted_on == len(LIKED)  # all are near the two medoids
    event = Event("e1", "u", found.items[0].item_id, "click", NOW + 60)
    recommender.store.update("u", lambda stored: apply_event(stored, event, VECTORS.get, CONFIG))
    again = recommender.recommend("u", seed=1)
    assert found.items[0].item_id not in {item.item_id for item in again.items}


def test_what_is_known_to_be_acted_on() -> None:
    batch = UserClusters("u", (dataclasses.replace(cluster("a", 2), member_ids=("a", "b")),), 0, 2)
    user = StoredUser("u", batch)
    event = Event("e1", "u", "0.5", "click", 1.0)
    assert acted_on(apply_event(user, event, VECTORS.get, CONFIG)) == ["0.5", "a", "b"]
    # Without members the medoid is known alone.
    bare = UserClusters("u", (dataclasses.replace(cluster("a"), member_ids=()),), 0, 1)
    assert acted_on(StoredUser("u", bare)) == ["a"]


def test_near_duplicates_of_what_was_acted_on_are_left_out(make) -> None:
    noise = np.random.default_rng(0).normal(scale=0.01, size=(2, 16)).astype(np.float32)
    # Of an item that is not the medoid: nearness to the medoid alone would not find it.
    medoid = {one.medoid_id for one in planted_user().clusters}
    other = next(item for item in LIKED if item not in medoid)
    extra = {"copy": VECTORS[other] + noise[0], "twin": 2 * (VECTORS["1.1"] + noise[1])}
    config = CONFIG.model_copy(update={"num_candidates": 100})
    found = make(config, extra).recommend("u", seed=1)
    assert not {item.item_id for item in found.items} & set(extra)
    assert found.num_near_duplicates == 2
    kept = make(config.model_copy(update={"duplicate_cosine": 1.0}), extra)
    assert {item.item_id for item in kept.recommend("u", seed=1).items} >= set(extra)


@pytest.mark.parametrize("k", [1, 7, 33])
@pytest.mark.parametrize("threshold", [1.2, 0.01])  # the small one: medoids of the same axis
def test_served_as_the_offline_protocol_measures(make, k, threshold) -> None:
    # Near-duplicates aside, which the protocol does not know.
    changed = {"duplicate_cosine": 1.0, "num_samples": 3, "threshold": threshold}
    config = CONFIG.model_copy(update=changed)
    user = planted_user(items=(*LIKED, "2.0", "2.1"), config=config)
    recommender = make(config, user=user)
    catalogue = Catalogue(list(VECTORS), np.stack(list(VECTORS.values())))
    for seed in range(5):
        drawn = sample_medoids([one.importance for one in user.clusters], 3, seed)
        vectors = np.stack([VECTORS[user.clusters[i].medoid_id] for i in drawn])
        queries = Queries(vectors, np.ones(len(drawn)), len(user.clusters))
        excluded = catalogue.rows_of(acted_on(user))
        (rows,) = retrieve(catalogue, [queries], [excluded], k)
        expected = [list(VECTORS)[row] for row in rows]
        found = recommender.recommend("u", k, seed)
        assert [item.item_id for item in found.items] == expected
        # The score is that of the medoid whose turn brought it; no other ranks the item higher.
        assert {item.medoid_id for item in found.items} <= {m.medoid_id for m in found.medoids}


def test_a_list_that_is_used_up_is_fetched_deeper(make) -> None:
    # 30 of the axis' 40 items acted on: of the nearest 4 hardly any is left.
    user = planted_user(items=tuple(f"0.{number}" for number in range(30)))
    config = CONFIG.model_copy(update={"num_candidates": 4, "duplicate_cosine": 1.0})
    recommender = make(config, user=user)
    found = recommender.recommend("u", seed=0)
    left = [item for item in VECTORS if item not in acted_on(user)]
    medoid = VECTORS[found.medoids[0].medoid_id]
    nearest = sorted(left, key=lambda item: -float(VECTORS[item] @ medoid))
    assert [one.item_id for one in found.items] == nearest[:4]
    # Everything acted on but three items: fewer come back than were asked for.
    everything = tuple(VECTORS)[3:]
    tiny = make(config, user=planted_user(items=everything))
    assert sorted(i.item_id for i in tiny.recommend("u").items) == ["0.0", "0.1", "0.2"]


def test_unknown_and_new_users_get_what_is_popular(make) -> None:
    recommender = make()
    found = recommender.recommend("nobody", k=3)
    assert (found.source, found.medoids) == ("popular", ())
    assert [(i.item_id, i.score, i.medoid_id) for i in found.items] == [
        ("3.0", 40.0, None),
        ("3.1", 39.0, None),
        ("3.2", 38.0, None),
    ]
    # A user whose clusters' medoids are no longer in the index; what was acted on stays out.
    gone = UserClusters(
        "u", (dataclasses.replace(cluster("gone", 2), member_ids=("gone", "3.1")),), NOW, 2
    )
    found = make(user=StoredUser("u", gone)).recommend("u", k=2)
    assert (found.source, found.num_acted_on) == ("popular", 1)
    assert [item.item_id for item in found.items] == ["3.0", "3.2"]


def test_a_medoid_that_left_the_index_is_not_drawn(make) -> None:
    user = planted_user()
    batch = user.batch
    clusters = (dataclasses.replace(batch.clusters[0], medoid_id="gone"), *batch.clusters[1:])
    user = StoredUser("u", dataclasses.replace(batch, clusters=clusters))
    found = make(user=user).recommend("u")
    assert [one.medoid_id for one in found.medoids] == [batch.clusters[1].medoid_id]
    assert {axis_of(item.item_id) for item in found.items} == {axis_of(batch.clusters[1].medoid_id)}


def test_a_seed_makes_it_repeatable_and_none_does_not(make) -> None:
    recommender = make(CONFIG.model_copy(update={"num_samples": 1}))
    one = [recommender.recommend("u", seed=seed) for seed in range(30)]
    assert one == [recommender.recommend("u", seed=seed) for seed in range(30)]
    assert len({found.medoids[0].medoid_id for found in one}) == 2
    unseeded = {recommender.recommend("u").medoids[0].medoid_id for _ in range(60)}
    assert len(unseeded) == 2  # the chance of one alone: (2 / 3)^60


def test_draws_follow_importance(make) -> None:
    recommender = make(CONFIG.model_copy(update={"num_samples": 1}))
    drawn = Counter(
        axis_of(recommender.recommend("u", 1, seed).medoids[0].medoid_id) for seed in range(900)
    )
    # Binomial: 4 of 6 actions are on axis 0; four standard deviations are 0.063.
    assert drawn["0"] / 900 == pytest.approx(4 / 6, abs=0.063)


def test_users_share_the_lists_of_a_medoid(make) -> None:
    recommender = make()
    recommender.recommend("u", seed=1)
    assert (recommender.cache.counts().misses, recommender.cache.counts().hits) == (2, 0)
    recommender.store.update("v", lambda _: planted_user("v"))
    recommender.recommend("v", k=3, seed=2)  # another user, number and draw
    assert (recommender.cache.counts().misses, recommender.cache.counts().hits) == (2, 2)
    before = recommender.recommend("u", seed=1)
    recommender.candidates = candidates(version="v2")
    assert recommender.recommend("u", seed=1) == before
    assert recommender.cache.counts().misses == 4  # the same items under another version


def test_what_the_cache_has_is_what_is_answered(make) -> None:
    recommender = make()
    searched = []
    index = recommender.candidates.index
    search = index.search

    def watched(queries, k):
        searched.append((len(queries), k))
        return search(queries, k)

    index.search = watched
    cold, warm = (recommender.recommend("u", seed=1) for _ in range(2))
    assert cold == warm
    assert searched == [(1, DEPTH), (1, DEPTH)]


def test_many_threads_get_what_one_gets(make) -> None:
    recommender = make()
    expected = {seed: recommender.recommend("u", seed=seed) for seed in range(8)}
    recommender.cache = MedoidCache(max_bytes=2_000)  # room for two lists: evicts all the time
    wrong = []

    def ask() -> None:
        for turn in range(40):
            found = recommender.recommend("u", seed=turn % 8)
            if found != expected[turn % 8]:
                wrong.append(found)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    counts = recommender.cache.counts()
    assert counts.hits + counts.misses == 8 * 40 * 2
    assert counts.num_bytes <= 2_000


@pytest.mark.parametrize("k", [0, -1, 34])
def test_a_number_out_of_range_is_refused(make, k) -> None:
    with pytest.raises(InputError, match=rf"`k` must be 1 to 33 .* Received: {k}\. Ask for fewer"):
        make().recommend("u", k)


def test_a_negative_seed_is_refused(make) -> None:
    with pytest.raises(InputError, match=r"A seed is 0 or more\. Received: -1\. Leave it out"):
        make().recommend("u", seed=-1)
