"""What happened since the batch: the newest actions of a user, clustered on their own.

One pure function, used by the streaming job and by the server. It keeps the newest
`online_actions` distinct events by (time, event id), so what is left does not depend on the order
in which they arrive, on how often each arrives, or on which program applies them.
"""

import datetime
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from tfrs_sage.errors import InputError
from tfrs_sage.users.clusters import SECONDS_PER_DAY, Actions, cluster_user
from tfrs_sage.users.config import ClusterConfig
from tfrs_sage.users.store import OnlineAction, StoredUser, UserStore

# The embedding of an item, float32 `[d]`; None for an item that has none.
VectorOf = Callable[[str], npt.NDArray[np.float32] | None]


@dataclass(frozen=True)
class Event:
    """A user acted on an item.

    Attributes:
        event_id: names the event: redelivered, it has the same id and says the same.
        user_id: who.
        item_id: on what.
        action: the action's word.
        time: when it happened (not when it arrived), seconds since the epoch, UTC.
    """

    event_id: str
    user_id: str
    item_id: str
    action: str
    time: float

    @staticmethod
    def from_json(text: str | bytes) -> "Event":
        """Reads one line of JSON; `time` is a number of seconds, or ISO 8601 text.

        Raises:
            InputError: not such a line; says what is wrong.
        """
        try:
            values = _OBJECT.validate_json(text)
            if isinstance(values.get("time"), str):
                values["time"] = parse_time(values["time"])
            event = _EVENT.validate_python(values, extra="forbid")
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise InputError(
                "An event must be a JSON object of event_id, user_id, item_id, action and time. "
                f"Received: {text[:80]!r} ({place}: {first['msg']})."
            ) from error
        if not (event.event_id and event.user_id and event.item_id and math.isfinite(event.time)):
            raise InputError(
                f"An event must have ids that are not empty, and a finite time. Received: {event}."
            )
        return event


_OBJECT = TypeAdapter(dict[str, Any])
_EVENT = TypeAdapter(Event)


class Outcome(StrEnum):
    """What became of an event."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"  # its id is there already
    COVERED = "covered"  # not after the batch's `as_of`: the batch has counted it, or the next will
    OUTDATED = "outdated"  # older than the newest `online_actions` events
    UNKNOWN_ITEM = "unknown_item"  # the item has no embedding
    WEIGHTLESS = "weightless"  # the action's weight is 0
    FUTURE = "future"  # after `latest`: a clock that is wrong


def apply_event(
    stored: StoredUser | None,
    event: Event,
    vector_of: VectorOf,
    config: ClusterConfig,
    latest: float = math.inf,
) -> StoredUser:
    """The user after one event; see `apply_events`."""
    return apply_events(stored, [event], vector_of, config, latest)[0]


def apply_events(
    stored: StoredUser | None,
    events: Iterable[Event],
    vector_of: VectorOf,
    config: ClusterConfig,
    latest: float = math.inf,
) -> tuple[StoredUser, Counter[Outcome]]:
    """The user after events, in whatever order they come.

    An event counts when it is after the batch's `as_of`, its item has an embedding, its action a
    weight, and its id is new. Of these the newest `config.online_actions` by (time, event id) are
    kept and clustered on their own. Everything up to `as_of`, `as_of` included, is the batch's:
    an event from before it that arrives after it is left to the next batch, which reads it from
    the log. A user without a batch part takes events of any time.

    Args:
        stored: the user so far; None for a new one.
        events: of this one user, at least one.
        vector_of: the embedding of an item.
        config: `online_actions`, `action_weights`, and how to cluster.
        latest: events after it are left out, seconds since the epoch.

    Returns:
        The user (the same object where nothing changed; an empty one where a new user's events
        all were left out), and how many events came to what.

    References:
        PinnerSage (Pal et al., KDD 2020), section 5: the last 20 actions of the day.
    """
    events = list(events)
    user = StoredUser(events[0].user_id) if stored is None else stored
    outcomes: Counter[Outcome] = Counter()
    recent = {action.event_id: action for action in user.recent}
    for event in events:
        outcome = _judge(user, recent, event, vector_of, config, latest)
        outcomes[outcome] += 1
        if outcome is Outcome.APPLIED:
            recent[event.event_id] = OnlineAction(
                event.event_id, event.item_id, event.action, event.time
            )
            if len(recent) > config.online_actions:
                oldest = min(recent.values(), key=_order)
                del recent[oldest.event_id]
    kept = tuple(sorted(recent.values(), key=_order))
    if kept == user.recent:
        return user, outcomes
    return refresh(replace(user, recent=kept), vector_of, config), outcomes


def refresh(user: StoredUser, vector_of: VectorOf, config: ClusterConfig) -> StoredUser:
    """The user with `online` and `batch_factor` as they follow from `recent`.

    Items that have lost their embedding since are left out of the clusters.
    """
    weights = [config.action_weights.get(action.action, 1.0) for action in user.recent]
    vectors = [vector_of(action.item_id) for action in user.recent]
    rows = [
        (action, vector, weight)
        for action, vector, weight in zip(user.recent, vectors, weights, strict=True)
        if vector is not None and weight > 0
    ]
    if not rows:
        return replace(user, online=(), batch_factor=1.0)
    actions = Actions(
        [action.item_id for action, _, _ in rows],
        np.stack([vector for _, vector, _ in rows]),
        [action.time for action, _, _ in rows],
        [weight for _, _, weight in rows],
    )
    now = rows[-1][0].time
    found = cluster_user(user.user_id, actions, config, now, keep_members=True)
    days = 0.0 if user.batch is None else max(0.0, now - user.batch.as_of) / SECONDS_PER_DAY
    return replace(user, online=found.clusters, batch_factor=math.exp(-config.decay * days))


def update_users(
    store: UserStore,
    events: Iterable[Event],
    vector_of: VectorOf,
    config: ClusterConfig,
    latest: float = math.inf,
) -> Counter[Outcome]:
    """Applies events of any users to a store, each user's in one atomic change.

    Returns:
        How many events came to what.
    """
    by_user: dict[str, list[Event]] = {}
    for event in events:
        by_user.setdefault(event.user_id, []).append(event)
    counted: dict[str, Counter[Outcome]] = {}

    def change(user_id: str, stored: StoredUser | None) -> StoredUser:
        # A store may try again: the last try is the one that counts.
        user, counted[user_id] = apply_events(stored, by_user[user_id], vector_of, config, latest)
        return user

    store.update_many(by_user, change)
    return sum(counted.values(), Counter())


def parse_time(text: str) -> float:
    """Seconds since the epoch of a number of seconds, or of ISO 8601 text (UTC where it has none).

    Raises:
        InputError: neither.

    Example:
        >>> parse_time("1970-01-02")
        86400.0
    """
    try:
        return float(text)
    except ValueError:
        pass  # not a number: a date
    try:
        when = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            f"A time is ISO 8601 or seconds since the epoch. Received: {text!r}. "
            "For example 2026-01-31T12:00:00Z."
        ) from error
    return (when if when.tzinfo else when.replace(tzinfo=datetime.UTC)).timestamp()


def _judge(
    user: StoredUser,
    recent: dict[str, OnlineAction],
    event: Event,
    vector_of: VectorOf,
    config: ClusterConfig,
    latest: float,
) -> Outcome:
    """What an event comes to, before it is applied."""
    if event.event_id in recent:
        return Outcome.DUPLICATE
    if user.batch is not None and event.time <= user.batch.as_of:
        return Outcome.COVERED
    if event.time > latest:
        return Outcome.FUTURE
    if config.action_weights.get(event.action, 1.0) == 0:
        return Outcome.WEIGHTLESS
    if vector_of(event.item_id) is None:
        return Outcome.UNKNOWN_ITEM
    is_full = len(recent) >= config.online_actions
    if is_full and (event.time, event.event_id) < min(map(_order, recent.values())):
        return Outcome.OUTDATED
    return Outcome.APPLIED


def _order(action: OnlineAction) -> tuple[float, str]:
    """By event time; events of one time by id."""
    return action.time, action.event_id
