"""What the query tower has answered, kept: a few queries make up most of the traffic.

OmniSearchSage (arXiv 2404.16260), section 5: a cache with 30 days to expiry stands before the
query tower, and of 300,000 requests a second about 500 reach the model.

Whole answers are kept: the embedding of a text, or the products that a search found for it, so
that neither the tower nor the index is asked again. An answer is kept by what it depends on: the
text as the tower sees it, what else was asked, and the model by name, version and content. A model
that is loaded in place of another never meets the other's answers.
"""

import dataclasses
import hashlib
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tfrs_sage.errors import InputError
from tfrs_sage.lru_cache import LruCache

Answer = Mapping[str, np.ndarray]  # to one text: a row of each output
MAX_AGE_S = 30 * 86_400.0  # the paper's
_MIB = 1 << 20
_ENTRY_BYTES = 600  # of the key and the objects around an answer
_TEXT_BYTES = 40  # of the object around a text
_KEY_BYTES = 16  # two texts of one key are as likely as a broken memory
# As the towers' tokenizer: strips, then makes one space of each run.
_SPACES = re.compile(rb"[\t\n\f\r ]+")


def query_key(model_identity: bytes, text: bytes, question: bytes = b"") -> bytes:
    """16 bytes for a text as a model sees it: texts that differ in white space alone share them.

    Args:
        model_identity: 1 to 64 bytes, `LoadedModel.identity`.
        text: UTF-8. It is not kept: nobody reads in the cache what people searched for.
        question: what is asked about the text: the signature and `k`.
    """
    seen = _SPACES.sub(b" ", text.strip())
    asked = len(question).to_bytes(4) + question + seen
    return hashlib.blake2b(asked, digest_size=_KEY_BYTES, key=model_identity).digest()


class QueryCache(ABC):
    """Answers by key; for all threads. A cache that fails is an empty one: it never raises."""

    @abstractmethod
    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, Answer]:
        """The answers that are there and young enough."""

    @abstractmethod
    def put_many(self, answers: Mapping[bytes, Answer]) -> None:
        """Keeps answers."""

    @abstractmethod
    def counts(self) -> dict[str, Any]:
        """What it has done since it was opened: `hits`, `misses`, `mean_hit_age_s` and more."""

    @abstractmethod
    def close(self) -> None:
        """Gives back connections; the cache is not used afterwards."""


class MemoryQueryCache(QueryCache):
    """In this process; the least recently used answers go first.

    Args:
        max_bytes: memory that it takes at most.
        max_age_s: seconds after which a text is answered anew.
        clock: seconds, never backwards.
    """

    def __init__(
        self,
        max_bytes: int,
        max_age_s: float = MAX_AGE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cache: LruCache[bytes, Answer] = LruCache(max_bytes, max_age_s, _size_of, clock)

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, Answer]:
        return self._cache.get_many(keys)

    def put_many(self, answers: Mapping[bytes, Answer]) -> None:
        for key, answer in answers.items():
            # Copies: a row of a batch would keep the whole batch in memory.
            self._cache.put(key, {name: values.copy() for name, values in answer.items()})

    def counts(self) -> dict[str, Any]:
        return {"kind": "memory", **dataclasses.asdict(self._cache.counts())}

    def close(self) -> None:
        pass


def _size_of(answer: Answer) -> int:
    """Bytes of memory that an answer takes."""
    total = _ENTRY_BYTES
    for values in answer.values():
        total += values.nbytes
        if values.dtype == object:
            total += sum(_TEXT_BYTES + len(text) for text in values.flat)
    return total


def open_query_cache(
    url: str | None = None, size_mib: int = 0, max_age_s: float = MAX_AGE_S
) -> QueryCache | None:
    """The cache that a server is told to use.

    Args:
        url: `redis://host:port/db`, `rediss://...` or `unix://...`: one for several servers.
        size_mib: MiB of memory of a cache in this process; 0 for none.
        max_age_s: seconds to expiry.

    Returns:
        The cache; None where neither is asked for.

    Raises:
        InputError: both are asked for, a bound below 0, or not an address of Redis.
        ImportError: Redis without its client.
    """
    if size_mib < 0 or not max_age_s > 0:
        raise InputError(
            "--query_cache_size must be 0 or more MiB and --query_cache_ttl more than 0 seconds. "
            f"Received: {size_mib} and {max_age_s}. A size of 0 is no cache."
        )
    if url is not None and size_mib:
        raise InputError(
            "The query cache is in memory or in Redis. Received: --query_cache_size and "
            "--query_cache. Leave one out; Redis itself bounds its memory (maxmemory)."
        )
    if url is not None:
        from serving.redis_query_cache import RedisQueryCache

        return RedisQueryCache(url, max_age_s)
    return MemoryQueryCache(size_mib * _MIB, max_age_s) if size_mib else None
