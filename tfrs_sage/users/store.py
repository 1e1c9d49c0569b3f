"""Where users' clusters are kept: one interface, a batch writer, online writers, readers."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Self, TypeVar

from pydantic import TypeAdapter, ValidationError

from tfrs_sage.errors import InputError
from tfrs_sage.redis_client import SCHEMES
from tfrs_sage.users.clusters import Cluster, UserClusters

USERS_AT_ONCE = 500  # users of a batch that are written together: a lock of some milliseconds
_T = TypeVar("_T")


@dataclass(frozen=True)
class OnlineAction:
    """One action that the batch has not seen.

    Attributes:
        event_id: names the event; the same id is the same event.
        item_id: what was acted on.
        action: the action's word.
        time: when it happened, seconds since the epoch, UTC.
    """

    event_id: str
    item_id: str
    action: str
    time: float


@dataclass(frozen=True)
class StoredUser:
    """What is known of a user: what the last batch found, and what has happened since.

    Attributes:
        user_id: whose.
        batch: of the last batch run; None for a user that it did not see.
        recent: the newest actions after `batch.as_of`, by (time, event id), oldest first.
        online: clusters of `recent`, importances as of its newest action.
        batch_factor: what decay leaves of the batch's importances at that moment.
    """

    user_id: str
    batch: UserClusters | None = None
    recent: tuple[OnlineAction, ...] = ()
    online: tuple[Cluster, ...] = ()
    batch_factor: float = 1.0

    @property
    def clusters(self) -> tuple[Cluster, ...]:
        """Batch and online clusters joined, in descending importance, all as of one moment.

        Clusters of the same medoid are one: sizes and importances add up.
        """
        batch = self.batch.clusters if self.batch else ()
        scaled = [_scaled(cluster, self.batch_factor) for cluster in batch]
        by_medoid: dict[str, Cluster] = {}
        for one in (*scaled, *self.online):
            other = by_medoid.get(one.medoid_id)
            by_medoid[one.medoid_id] = one if other is None else _joined(other, one)
        order = sorted(by_medoid.values(), key=lambda c: (-c.importance, -c.last_time, c.medoid_id))
        return tuple(order)

    @property
    def is_empty(self) -> bool:
        """True for a user of whom nothing is known; such a user is not stored."""
        return self.batch is None and not self.recent

    def to_json(self) -> bytes:
        """JSON from which `from_json` reads the same again."""
        return _JSON.dump_json(self)

    @staticmethod
    def from_json(text: str | bytes) -> "StoredUser":
        """Reads what `to_json` wrote.

        Raises:
            InputError: not the JSON of a StoredUser.
        """
        try:
            return _JSON.validate_json(text, extra="forbid")
        except ValidationError as error:
            raise InputError(
                f"A stored user must be the JSON of StoredUser. Found: {text[:80]!r} "
                f"({error.errors()[0]['msg']}). Another version wrote it: start a new store and "
                "fill it with cluster-users."
            ) from error


_JSON = TypeAdapter(StoredUser)

# Clusters `recent` anew, after the batch has taken over some of it.
Refresh = Callable[[StoredUser], StoredUser]
# What a user becomes; an empty one is removed. The same object again writes nothing. A store may
# call it several times for one change, so it must have no effects.
Change = Callable[[str, StoredUser | None], StoredUser | None]


def replace_batch(stored: StoredUser | None, new: UserClusters, refresh: Refresh) -> StoredUser:
    """A user after a batch run: its batch part anew, of the online part what the run did not see.

    Args:
        stored: the user so far.
        new: what the batch run found. It saw every action up to `new.as_of`.
        refresh: clusters what is left of `recent`.

    Returns:
        The user; as it was where it already holds a newer batch.
    """
    if stored is None:
        return StoredUser(new.user_id, new)
    if stored.batch is not None and stored.batch.as_of > new.as_of:
        return stored
    recent = tuple(action for action in stored.recent if action.time > new.as_of)
    return refresh(StoredUser(new.user_id, new, recent))


def retire_batch(stored: StoredUser, as_of: float, refresh: Refresh) -> StoredUser:
    """A user that a batch run as of `as_of` did not find: nothing up to then is kept.

    Returns:
        The user, perhaps empty; the same object where there was nothing to drop.
    """
    batch = stored.batch if stored.batch and stored.batch.as_of >= as_of else None
    recent = tuple(action for action in stored.recent if action.time > as_of)
    if batch is stored.batch and (batch is not None or recent == stored.recent):
        return stored
    return refresh(StoredUser(stored.user_id, batch, recent))


class UserStore(ABC):
    """Users by id, each read and written whole, safe for many processes and threads.

    Every change of a user is atomic: readers see it before or after, and of several writers none
    undoes what another did. Changes of different users are independent of each other.

    Attributes:
        outages: errors that its methods raise while it cannot be reached: worth another try later.
    """

    outages: tuple[type[Exception], ...] = ()

    @abstractmethod
    def get_many(self, user_ids: Iterable[str]) -> dict[str, StoredUser]:
        """The users that are known, by id."""

    @abstractmethod
    def update_many(self, user_ids: Iterable[str], change: Change) -> dict[str, StoredUser]:
        """Changes each of these users atomically: read, `change`, write.

        Returns:
            What each user is now, by id; users that do not exist afterwards are not in it.
        """

    @abstractmethod
    def before_batch(self, as_of: float) -> Iterator[str]:
        """Ids of at least all users without a batch part of `as_of` or later."""

    @abstractmethod
    def batch_as_of(self) -> float | None:
        """The moment of the last batch run that was written whole; None before the first."""

    @abstractmethod
    def _set_batch_as_of(self, as_of: float) -> None:
        """Notes a batch run as whole."""

    @abstractmethod
    def close(self) -> None:
        """Gives back connections; the store is not used afterwards."""

    def get(self, user_id: str) -> StoredUser | None:
        """What is known of a user; None for one who is not known."""
        return self.get_many([user_id]).get(user_id)

    def update(
        self, user_id: str, change: Callable[[StoredUser | None], StoredUser | None]
    ) -> StoredUser | None:
        """As `update_many`, for one user."""
        return self.update_many([user_id], lambda _, stored: change(stored)).get(user_id)

    def write_batch(self, users: Iterable[UserClusters], refresh: Refresh) -> int:
        """Replaces the batch part of these users (`replace_batch`), as many at once as is quick.

        Args:
            users: each user once, as a batch run found it.
            refresh: clusters anew what is left of a user's recent actions.

        Returns:
            How many users were given.
        """
        number = 0
        for part in chunks(users, USERS_AT_ONCE):
            found = {user.user_id: user for user in part}

            def change(user_id: str, stored: StoredUser | None) -> StoredUser:
                return replace_batch(stored, found[user_id], refresh)  # noqa: B023  (used at once)

            self.update_many(found, change)
            number += len(part)
        return number

    def finish_batch(self, as_of: float, refresh: Refresh) -> int:
        """Ends a batch run: users that it did not write lose what is as old as it.

        Returns:
            How many users are gone altogether.
        """
        self._set_batch_as_of(as_of)
        gone = 0
        for part in chunks(self.before_batch(as_of), USERS_AT_ONCE):
            left = self.update_many(
                part,
                lambda _, stored: None if stored is None else retire_batch(stored, as_of, refresh),
            )
            gone += len(set(part)) - len(left)
        return gone

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def chunks(values: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """The values in order, in lists of `size`."""
    iterator = iter(values)
    while part := list(islice(iterator, size)):
        yield part


def open_store(url: str) -> UserStore:
    """The store at a place.

    Args:
        url: `sqlite:///relative/path`, `sqlite:////absolute/path`, or `redis://host:port/db`,
            `rediss://...` (TLS), `unix:///path/of/the/socket`.

    Raises:
        InputError: another kind of place, or nothing answers there.
        ImportError: Redis without its client.
    """
    kind, _, rest = url.partition("://")
    if kind == "sqlite" and len(rest) > 1 and rest.startswith("/"):
        from tfrs_sage.users.sqlite_store import SqliteStore

        return SqliteStore(rest[1:])
    if kind in SCHEMES and rest:
        from tfrs_sage.users.redis_store import RedisStore

        return RedisStore(url)
    raise InputError(
        "A user store is written sqlite:///path or redis://host:port/db. "
        f"Received: {url!r}. An absolute path has four slashes: sqlite:////srv/users.sqlite."
    )


def _scaled(cluster: Cluster, factor: float) -> Cluster:
    if factor == 1.0:
        return cluster
    return dataclasses.replace(cluster, importance=cluster.importance * factor)


def _joined(first: Cluster, second: Cluster) -> Cluster:
    """Two clusters of one medoid as one."""
    return Cluster(
        first.medoid_id,
        first.size + second.size,
        first.importance + second.importance,
        min(first.first_time, second.first_time),
        max(first.last_time, second.last_time),
        first.member_ids + second.member_ids,
    )
