"""The cache of medoids' lists: counts, age, room, threads."""

import threading

import numpy as np
import pytest

from tests.users.clock import Clock
from tfrs_sage.errors import InputError
from tfrs_sage.users.medoid_cache import CacheKey, MedoidCache, RankedRows

ONE = 8 * 100 + 600  # bytes of a list of 100 items


def ranked(first: int = 0, size: int = 100) -> RankedRows:
    return RankedRows(np.arange(first, first + size, dtype=np.int32), np.ones(size, np.float32))


def key(medoid: str = "m", version: str = "v", depth: int = 100) -> CacheKey:
    return CacheKey(version, medoid, depth)


def test_hits_and_misses_are_counted() -> None:
    cache = MedoidCache()
    assert cache.get_many([key()]) == {}
    value = ranked()
    cache.put(key(), value)
    assert cache.get_many([key(), key("other")]) == {key(): value}
    counts = cache.counts()
    assert (counts.hits, counts.misses, counts.expired, counts.evicted) == (1, 2, 0, 0)
    assert (counts.entries, counts.num_bytes) == (1, ONE)


def test_another_version_or_depth_is_another_list() -> None:
    cache = MedoidCache()
    cache.put(key(), ranked())
    assert cache.get_many([key(version="w"), key(depth=200)]) == {}
    assert cache.counts().misses == 2


def test_a_list_is_not_used_beyond_its_age() -> None:
    clock = Clock()
    cache = MedoidCache(max_age_s=10, clock=clock)
    cache.put(key(), ranked())
    clock.now = 4.0
    assert key() in cache.get_many([key()])
    clock.now = 9.0
    assert key() in cache.get_many([key()])  # use does not make it younger
    counts = cache.counts()
    assert (counts.mean_hit_age_s, counts.oldest_age_s) == (6.5, 9.0)
    clock.now = 10.0
    assert cache.get_many([key()]) == {}
    counts = cache.counts()
    assert (counts.hits, counts.misses, counts.expired) == (2, 1, 1)
    assert (counts.entries, counts.num_bytes, counts.oldest_age_s) == (0, 0, 0.0)


def test_the_least_recently_used_goes_first() -> None:
    cache = MedoidCache(max_bytes=2 * ONE)
    cache.put(key("a"), ranked())
    cache.put(key("b"), ranked())
    cache.get_many([key("a")])
    cache.put(key("c"), ranked())
    assert set(cache.get_many([key("a"), key("b"), key("c")])) == {key("a"), key("c")}
    assert (cache.counts().evicted, cache.counts().num_bytes) == (1, 2 * ONE)
    cache.put(key("large"), ranked(size=1_000))  # larger than the whole cache
    assert cache.counts().entries == 2
    cache.put(key("a"), ranked(5))  # anew, not twice
    assert (cache.counts().entries, cache.counts().num_bytes) == (2, 2 * ONE)
    assert cache.get_many([key("a")])[key("a")].rows[0] == 5


def test_nothing_is_kept_without_room_or_age() -> None:
    for cache in (MedoidCache(max_bytes=0), MedoidCache(max_age_s=0)):
        cache.put(key(), ranked())
        assert cache.get_many([key()]) == {}


def test_threads_do_not_lose_counts() -> None:
    cache = MedoidCache(max_bytes=3 * ONE)

    def use(number: int) -> None:
        for turn in range(300):
            one = key(str((turn + number) % 5))
            if one not in cache.get_many([one]):
                cache.put(one, ranked())

    threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = cache.counts()
    assert counts.hits + counts.misses == 8 * 300
    assert counts.num_bytes == counts.entries * ONE <= 3 * ONE


@pytest.mark.parametrize("bounds", [{"max_bytes": -1}, {"max_age_s": -1.0}])
def test_negative_bounds_are_refused(bounds) -> None:
    with pytest.raises(InputError, match=r"must be 0 or more\. Received: .*0 switches it off"):
        MedoidCache(**bounds)
