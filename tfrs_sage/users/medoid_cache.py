"""What medoids bring from the index, kept: medoids are items, so many users share them."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tfrs_sage.lru_cache import LruCache

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

    @property
    def num_bytes(self) -> int:
        """Memory that it takes in a cache."""
        return self.rows.nbytes + self.scores.nbytes + _ENTRY_BYTES


class MedoidCache(LruCache[CacheKey, RankedRows]):
    """The lists of medoids, for all users.

    Args:
        max_bytes: memory that the lists take at most; 0 keeps nothing.
        max_age_s: seconds after which a list is looked up again.
        clock: seconds, never backwards.
    """

    def __init__(
        self,
        max_bytes: int = MAX_BYTES,
        max_age_s: float = MAX_AGE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(max_bytes, max_age_s, lambda ranked: ranked.num_bytes, clock)
