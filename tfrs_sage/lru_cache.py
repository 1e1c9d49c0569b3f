"""A cache in memory: the least recently used goes first, and nothing is used beyond an age."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from tfrs_sage.errors import InputError

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


@dataclass(frozen=True)
class CacheCounts:
    """What a cache has done since it was made, and what is in it.

    Attributes:
        hits: values that were there.
        misses: values that were not, or were too old.
        expired: of the misses, those that were too old.
        evicted: values that had to go for lack of room.
        mean_hit_age_s: how old values were when they were used, on average; 0 without a hit.
        entries: values in it now.
        num_bytes: memory that they take.
        oldest_age_s: age of the oldest of them; 0 without any.
    """

    hits: int
    misses: int
    expired: int
    evicted: int
    mean_hit_age_s: float
    entries: int
    num_bytes: int
    oldest_age_s: float


@dataclass(frozen=True)
class _Entry(Generic[Value]):
    value: Value
    made_at: float
    num_bytes: int


class LruCache(Generic[Key, Value]):
    """Values by key within bounds of memory and age. For all threads.

    Two threads that miss the same key at once both make the value, and both misses are counted.

    Args:
        max_bytes: memory that the values take at most; 0 keeps nothing.
        max_age_s: seconds after which a value is not used.
        size_of: bytes that a value takes, with its key and the objects around it.
        clock: seconds, never backwards.

    Raises:
        InputError: a negative bound.
    """

    def __init__(
        self,
        max_bytes: int,
        max_age_s: float,
        size_of: Callable[[Value], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if max_bytes < 0 or not max_age_s >= 0:
            raise InputError(
                "The bounds of a cache must be 0 or more. Received: "
                f"max_bytes={max_bytes}, max_age_s={max_age_s}. 0 switches it off."
            )
        self._max_bytes, self._max_age_s = max_bytes, max_age_s
        self._size_of, self._clock = size_of, clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[Key, _Entry[Value]] = OrderedDict()  # least recently used first
        self._num_bytes = 0
        self._hits = self._misses = self._expired = self._evicted = 0
        self._hit_age_s = 0.0

    def get_many(self, keys: Iterable[Key]) -> dict[Key, Value]:
        """The values that are there and young enough."""
        found = {}
        with self._lock:
            now = self._clock()
            for key in keys:
                entry = self._entries.get(key)
                if entry is not None and now - entry.made_at >= self._max_age_s:
                    self._drop(key)
                    self._expired += 1
                    entry = None
                if entry is None:
                    self._misses += 1
                    continue
                self._hits += 1
                self._hit_age_s += now - entry.made_at
                self._entries.move_to_end(key)
                found[key] = entry.value
        return found

    def put(self, key: Key, value: Value) -> None:
        """Keeps a value; one that is larger than the whole cache is not kept."""
        with self._lock:
            entry = _Entry(value, self._clock(), self._size_of(value))
            if key in self._entries:
                self._drop(key)
            if entry.num_bytes > self._max_bytes:
                return
            while self._num_bytes + entry.num_bytes > self._max_bytes:
                self._drop(next(iter(self._entries)))
                self._evicted += 1
            self._entries[key] = entry
            self._num_bytes += entry.num_bytes

    def counts(self) -> CacheCounts:
        """What it has done so far."""
        with self._lock:
            made_at = [entry.made_at for entry in self._entries.values()]
            return CacheCounts(
                hits=self._hits,
                misses=self._misses,
                expired=self._expired,
                evicted=self._evicted,
                mean_hit_age_s=self._hit_age_s / self._hits if self._hits else 0.0,
                entries=len(self._entries),
                num_bytes=self._num_bytes,
                oldest_age_s=self._clock() - min(made_at) if made_at else 0.0,
            )

    def _drop(self, key: Key) -> None:
        self._num_bytes -= self._entries.pop(key).num_bytes
