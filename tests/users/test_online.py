"""Events into a user's state: order, repetition, lateness, and what the batch takes over."""

import itertools
import json
import math
import random
from functools import partial

import numpy as np
import pytest

from tests.users.stores import CONFIG, DAY, cluster, user, vector_of
from tfrs_sage.errors import InputError
from tfrs_sage.users.clusters import Actions, cluster_user
from tfrs_sage.users.online import (
    Event,
    Outcome,
    apply_event,
    apply_events,
    parse_time,
    refresh,
    update_users,
)
from tfrs_sage.users.store import StoredUser, open_store

AS_OF = 100 * DAY


def event(number: int, time: float, item: str = "", user_id: str = "u", action: str = "click"):
    return Event(f"e{number:03d}", user_id, item or f"{number % 3}.{number}", action, time)


def days(count: int) -> list[Event]:
    """One event a hour after AS_OF."""
    return [event(number, AS_OF + 3600.0 * (number + 1)) for number in range(count)]


def apply(stored, events, config=CONFIG, **more):
    return apply_events(stored, events, vector_of, config, **more)


def expected_online(events, config=CONFIG):
    """The definition: the newest distinct events, clustered on their own as of the newest."""
    newest = sorted(set(events), key=lambda e: (e.time, e.event_id))[-config.online_actions :]
    actions = Actions(
        [e.item_id for e in newest],
        np.stack([vector_of(e.item_id) for e in newest]),
        [e.time for e in newest],
    )
    found = cluster_user("u", actions, config, newest[-1].time, keep_members=True)
    return tuple(e.event_id for e in newest), found.clusters


def test_the_newest_actions_are_clustered_on_their_own() -> None:
    events = days(9)
    stored, outcomes = apply(None, events)
    ids, clusters = expected_online(events)
    assert outcomes == {Outcome.APPLIED: 9}
    assert (
        tuple(one.event_id for one in stored.recent) == ids == tuple(f"e00{n}" for n in range(4, 9))
    )
    assert stored.online == clusters
    assert sorted(one.size for one in clusters) == [1, 2, 2]  # five events on three axes
    assert stored.batch is None and stored.batch_factor == 1.0


def test_order_and_repetition_do_not_matter() -> None:
    events = days(6)
    direct, _ = apply(None, events)
    for order in itertools.islice(itertools.permutations(events), 0, None, 17):
        stored = None
        for one in (*order, *order[:3]):
            stored = apply_event(stored, one, vector_of, CONFIG)
        assert stored == direct
    shuffled = events * 3
    random.Random(0).shuffle(shuffled)
    assert apply(None, shuffled)[0] == direct


def test_equal_times_are_ordered_by_event_id() -> None:
    events = [event(number, AS_OF + 1) for number in range(8)]
    for order in (events, events[::-1]):
        stored, _ = apply(None, order)
        assert [one.event_id for one in stored.recent] == [f"e00{n}" for n in range(3, 8)]


def test_a_duplicate_changes_nothing() -> None:
    stored, _ = apply(None, days(5))
    again, outcomes = apply(stored, days(5))
    assert again is stored  # so that the store writes nothing
    assert outcomes == {Outcome.DUPLICATE: 5}


def test_late_events_take_their_place_by_event_time() -> None:
    events = days(7)
    late = events.pop(4)
    stored, _ = apply(None, events)
    assert apply_event(stored, late, vector_of, CONFIG) == apply(None, days(7))[0]
    too_late = event(99, AS_OF + 1)
    again, outcomes = apply(stored, [too_late])
    assert again is stored and outcomes == {Outcome.OUTDATED: 1}


def test_the_batch_has_what_is_not_after_it() -> None:
    stored = StoredUser("u", user("u", AS_OF, cluster("m", 3, AS_OF)))
    again, outcomes = apply(stored, [event(0, AS_OF), event(1, AS_OF - DAY)])
    assert again is stored and outcomes == {Outcome.COVERED: 2}
    after, outcomes = apply(stored, [event(2, AS_OF + 1e-3)])
    assert outcomes == {Outcome.APPLIED: 1} and len(after.recent) == 1


def test_unknown_items_and_actions_that_do_not_count_take_no_place() -> None:
    config = CONFIG.model_copy(update={"action_weights": {"view": 0.0, "buy": 5.0}})
    others = [event(50, AS_OF + DAY, item="nobody"), event(51, AS_OF + DAY, action="view")]
    stored, outcomes = apply(None, [*days(5), *others], config)
    assert outcomes == {Outcome.APPLIED: 5, Outcome.UNKNOWN_ITEM: 1, Outcome.WEIGHTLESS: 1}
    assert stored == apply(None, days(5), config)[0]
    new, outcomes = apply(None, others[:1])
    assert new.is_empty and new.user_id == "u"
    bought, _ = apply(None, [event(1, AS_OF, action="buy")], config)
    assert bought.online[0].importance == 5.0


def test_events_from_the_future_do_not_push_the_others_out() -> None:
    stored, outcomes = apply(None, [*days(2), event(9, 1e12)], latest=AS_OF + DAY)
    assert outcomes == {Outcome.APPLIED: 2, Outcome.FUTURE: 1}
    assert stored == apply(None, days(2))[0]


def test_joined_clusters_are_importances_of_one_moment() -> None:
    batch = user("u", AS_OF, cluster("4.0", 6, AS_OF), cluster("0.0", 2, AS_OF))
    now = AS_OF + 10 * DAY
    stored, _ = apply(StoredUser("u", batch), [event(0, now, "0.0"), event(1, now, "2.0")])
    factor = math.exp(-0.01 * 10)
    assert stored.batch_factor == pytest.approx(factor)
    found = {one.medoid_id: (one.size, one.importance) for one in stored.clusters}
    assert found == {
        "4.0": (6, pytest.approx(6 * factor)),
        "0.0": (3, pytest.approx(2 * factor + 1)),  # one medoid, one cluster
        "2.0": (1, 1.0),
    }
    assert [one.importance for one in stored.clusters] == sorted(
        (one.importance for one in stored.clusters), reverse=True
    )
    assert [one.first_time for one in stored.clusters if one.medoid_id == "0.0"] == [AS_OF]


def test_items_that_are_gone_leave_the_clusters() -> None:
    stored, _ = apply(None, [event(0, AS_OF, "0.0"), event(1, AS_OF + 1, "1.0")])
    left = refresh(stored, lambda item: None if item == "1.0" else vector_of(item), CONFIG)
    assert [one.medoid_id for one in left.online] == ["0.0"]
    assert refresh(stored, lambda item: None, CONFIG).online == ()


def test_batch_then_online_then_batch(store_url) -> None:
    """Every action of the log is in exactly one place at any time."""
    rng = random.Random(1)
    log = [event(n, n * 3600.0 + 1, f"{rng.randrange(3)}.{n}", f"u{n % 3}") for n in range(120)]
    config = CONFIG.model_copy(update={"online_actions": 100})

    def batch_of(as_of: float):
        seen = [one for one in log if one.time <= as_of]
        for name in sorted({one.user_id for one in seen}):
            mine = [one for one in seen if one.user_id == name]
            vectors = np.stack([vector_of(one.item_id) for one in mine])
            actions = Actions([e.item_id for e in mine], vectors, [e.time for e in mine])
            yield cluster_user(name, actions, config, as_of, keep_members=True)

    def counted(store, until: float) -> None:
        for name in ("u0", "u1", "u2"):
            members = [item for one in store.get(name).clusters for item in one.member_ids]
            mine = [one.item_id for one in log if one.user_id == name and one.time <= until]
            assert sorted(members) == sorted(mine)

    again = partial(refresh, vector_of=vector_of, config=config)
    first, second = log[49].time, log[89].time
    with open_store(store_url) as store:
        store.write_batch(batch_of(first), again)
        store.finish_batch(first, again)
        counted(store, first)
        stream = [one for one in log[30:] for _ in range(2)]  # overlapping, doubled, shuffled
        rng.shuffle(stream)
        outcomes = update_users(store, stream, vector_of, config)
        assert outcomes == {Outcome.COVERED: 40, Outcome.APPLIED: 70, Outcome.DUPLICATE: 70}
        counted(store, log[-1].time)
        store.write_batch(batch_of(second), again)
        store.finish_batch(second, again)
        counted(store, log[-1].time)
        left = {e.event_id for name in ("u0", "u1", "u2") for e in store.get(name).recent}
        assert left == {one.event_id for one in log[90:]}
        # What is redelivered after the batch does not come back.
        outcomes = update_users(store, log, vector_of, config)
        assert outcomes == {Outcome.COVERED: 90, Outcome.DUPLICATE: 30}
        counted(store, log[-1].time)


def test_events_as_json() -> None:
    line = {"event_id": "e", "user_id": "u", "item_id": "i", "action": "click", "time": 5}
    assert Event.from_json(json.dumps(line)) == Event("e", "u", "i", "click", 5.0)
    dated = {**line, "time": "1970-01-02T01:00:00+01:00"}
    assert Event.from_json(json.dumps(dated)).time == DAY
    for wrong in (
        "no json",
        "[]",
        json.dumps({**line, "more": 1}),
        json.dumps({**line, "item_id": 7}),
        json.dumps({**line, "item_id": ""}),
        json.dumps({**line, "time": "yesterday"}),
        json.dumps({key: value for key, value in line.items() if key != "time"}),
        json.dumps({**line, "time": float("nan")}),
    ):
        with pytest.raises(InputError, match=r"(An event must|A time is).* Received: "):
            Event.from_json(wrong)


def test_times() -> None:
    assert parse_time("1970-01-01T00:01") == parse_time("60") == 60.0
    with pytest.raises(InputError, match=r"A time is ISO 8601 .* Received: 'soon'"):
        parse_time("soon")
