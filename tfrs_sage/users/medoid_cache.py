"""What medoids bring from the index, kept: medoids are items, so many users share them."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tfrs_sage.errors import InputError

MAX_BYTES = 64 << 20  # about 14,000 lists of 512 items
MAX_AGE_S = 3600.0
_ENTRY_BYTES = 600  # of keys and objects around the two arrays


@dataclass(frozen=True)
class CacheKey:
    """What a list depends on: another index, medoid or depth is another list."""

    index_version: str
    medoid_id: str
    depth: int


@dataclass(frozen=True, eq=False)
class RankedRows:
    """The items nearest to one medoid, best first.

    Attributes:
        rows: int32 `[depth]`, rows of the index.
        scores: float32 `[depth]`, their dot products with the medoid.
    """

    rows: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]


@dataclass(frozen=True)
class CacheCounts:
    """What a cache has done since it was made, and what is in it.

    Attributes:
        hits: lists that were there.
        misses: lists that were not, or were too old.
        expired: of the misses, those that were too old.
        evicted: lists that had to go for lack of room.
        mean_hit_age_s: how old lists were when they were used, on average; 0 without a hit.
        entries: lists in it now.
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
class _Entry:
    value: RankedRows
    made_at: float
    num_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        size = self.value.rows.nbytes + self.value.scores.nbytes + _ENTRY_BYTES
        object.__setattr__(self, "num_bytes", size)


class MedoidCache:
    """The least recently used lists go first, and none is used beyond an age. For all threads.

    Two threads that miss the same list at once both look it up, and both misses are counted.

    Args:
        max_bytes: memory that the lists take at most; 0 keeps nothing.
        max_age_s: seconds after which a list is looked up again.
        clock: seconds, never backwards.

    Raises:
        InputError: a negative bound.
    """

    def __init__(
        self,
        max_bytes: int = MAX_BYTES,
        max_age_s: float = MAX_AGE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if max_bytes < 0 or not max_age_s >= 0:
            raise InputError(
                "The bounds of a cache must be 0 or more. Received: "
                f"max_bytes={max_bytes}, max_age_s={max_age_s}. 0 switches it off."
            )
        self._max_bytes, self._max_age_s, self._clock = max_bytes, max_age_s, clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[CacheKey, _Entry] = OrderedDict()  # least recently used first
        self._num_bytes = 0
        self._hits = self._misses = self._expired = self._evicted = 0
        self._hit_age_s = 0.0

    def get_many(self, keys: Iterable[CacheKey]) -> dict[CacheKey, RankedRows]:
        """The lists that are there and young enough."""
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

    def put(self, key: CacheKey, value: RankedRows) -> None:
        """Keeps a list; a list that is larger than the whole cache is not kept."""
        with self._lock:
            entry = _Entry(value, self._clock())
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

    def _drop(self, key: CacheKey) -> None:
        self._num_bytes -= self._entries.pop(key).num_bytes
