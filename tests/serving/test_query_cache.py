"""The caches of answers to texts: keys, age, room, Redis and its outages, speed."""

import logging
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from serving.query_cache import MAX_AGE_S, MemoryQueryCache, open_query_cache, query_key
from serving.redis_query_cache import PREFIX, RETRY_S, RedisQueryCache
from tests.users.clock import Clock
from tests.users.stores import redis_server
from tfrs_sage.errors import InputError

MODEL = b"m" * 32
KEYS = [query_key(MODEL, text) for text in (b"red sofa", b"oak desk", b"mug")]
ANSWERS = {
    key: {"score": np.float32([place, 0.1]), "id": np.array([b"x", b"\xff\0"], object)}
    for place, key in enumerate(KEYS)
}
# Two floats, two pointers, two texts of 1 and 2 bytes, and what is around them.
ANSWER_BYTES = 8 + 16 + 2 * 40 + 3 + 600


@pytest.fixture(scope="module")
def redis_url():
    # Not pytest's folder, whose path may be too long for a socket.
    with tempfile.TemporaryDirectory() as folder, redis_server(Path(folder)) as url:
        yield url


@pytest.fixture(params=["memory", "redis"])
def opened(request):
    """An empty cache of 10 seconds, and its clock."""
    clock = Clock()
    if request.param == "memory":
        return MemoryQueryCache(1 << 20, 10.0, clock), clock
    cache = RedisQueryCache(request.getfixturevalue("redis_url"), 10.0, clock)
    cache._redis.flushdb()
    return cache, clock


def same(found, expected) -> bool:
    return found.keys() == expected.keys() and all(
        found[key].keys() == expected[key].keys()
        and np.array_equal(found[key][name], values)
        and found[key][name].dtype == values.dtype
        for key in found
        for name, values in expected[key].items()
    )


def test_a_key_is_of_the_text_as_the_tower_sees_it() -> None:
    for text in (b" red\t\n sofa ", b"red sofa\r", b"\x0bred  sofa"):
        assert query_key(MODEL, text) == KEYS[0]
    for text in (b"redsofa", b"Red sofa", b"red\x0bsofa", "red\u00a0sofa".encode(), b""):
        assert query_key(MODEL, text) != KEYS[0]
    assert query_key(b"n" * 32, b"red sofa") != KEYS[0]
    assert len({*KEYS, query_key(MODEL, b"x" * 100_000)}) == 4
    questions = [(b"sofa", b"search\0k"), (b"ksofa", b"search\0"), (b"sofa", b"search\0")]
    assert len({query_key(MODEL, text, question) for text, question in questions}) == 3
    assert {len(key) for key in KEYS} == {16}


def test_hits_misses_and_age(opened) -> None:
    cache, clock = opened
    assert cache.get_many(KEYS) == {}
    cache.put_many({key: ANSWERS[key] for key in KEYS[:2]})
    clock.now = 4.0
    assert same(cache.get_many(KEYS), {key: ANSWERS[key] for key in KEYS[:2]})
    counts = cache.counts()
    assert (counts["hits"], counts["misses"], counts["mean_hit_age_s"]) == (2, 4, 4.0)


def test_memory_expires_and_evicts() -> None:
    clock = Clock()
    cache = MemoryQueryCache(2 * ANSWER_BYTES, 10.0, clock)
    cache.put_many(ANSWERS)
    assert same(cache.get_many(KEYS), {key: ANSWERS[key] for key in KEYS[1:]})
    clock.now = 9.9
    assert len(cache.get_many(KEYS)) == 2
    clock.now = 10.0
    assert cache.get_many(KEYS) == {}
    counts = cache.counts()
    assert (counts["evicted"], counts["expired"], counts["entries"]) == (1, 2, 0)


def test_a_row_does_not_keep_its_batch() -> None:
    cache = MemoryQueryCache(1 << 20)
    batch = np.zeros((1_000, 2), np.float32)
    cache.put_many({KEYS[0]: {"embedding": batch[0]}})
    batch[0] = 7.0
    kept = cache.get_many(KEYS)[KEYS[0]]["embedding"]
    assert kept.tolist() == [0.0, 0.0] and kept.base is None


def test_redis_lets_keys_expire_and_servers_share_them(redis_url) -> None:
    first, second = (RedisQueryCache(redis_url, 0.2) for _ in range(2))
    first._redis.flushdb()
    first.put_many(ANSWERS)
    assert 0 < first._redis.pttl(PREFIX + KEYS[0]) <= 200
    assert same(second.get_many(KEYS), ANSWERS)
    time.sleep(0.25)
    assert second.get_many(KEYS) == {}
    assert (second.counts()["hits"], second.counts()["misses"]) == (3, 3)
    for value in (b"", b"no answer", b"8 bytes." + b"\xff" * 9, b"8 bytes."):
        second._redis.set(PREFIX + KEYS[0], value)
        assert second.get_many(KEYS) == {}


def test_an_outage_is_counted_logged_once_and_over_again(caplog) -> None:
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        with redis_server(Path(folder)) as url:
            cache = RedisQueryCache(url, MAX_AGE_S, clock)
            cache.put_many(ANSWERS)
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                assert cache.get_many(KEYS) == {}
                cache.put_many(ANSWERS)
            counts = cache.counts()
            assert (counts["failures"], counts["left_alone"], counts["is_down"]) == (1, 5, True)
            assert counts["misses"] == 9
            clock.now += RETRY_S
            assert cache.get_many(KEYS) == {}  # tried again, in vain
            assert cache.counts()["failures"] == 2
            assert [record.message[:34] for record in caplog.records] == [
                "the query cache in Redis fails, al"
            ]
            with redis_server(Path(folder)):
                clock.now += RETRY_S
                cache.put_many(ANSWERS)
                assert same(cache.get_many(KEYS), ANSWERS)
            assert caplog.records[-1].message == "the query cache in Redis is back"
            assert cache.counts()["is_down"] is False
    cache.close()


def test_a_redis_that_refuses_to_write_is_an_empty_cache(redis_url) -> None:
    cache = RedisQueryCache(redis_url, MAX_AGE_S)
    cache._redis.flushdb()
    cache._redis.config_set("maxmemory", 1)
    try:
        cache.put_many(ANSWERS)
    finally:
        cache._redis.config_set("maxmemory", 0)
    assert cache.counts()["failures"] == 1


def test_what_is_opened() -> None:
    assert open_query_cache() is None
    assert isinstance(open_query_cache(size_mib=1), MemoryQueryCache)
    with pytest.raises(InputError, match=r"in memory or in Redis\. Received: --query_cache_size"):
        open_query_cache("redis://localhost", 1)
    with pytest.raises(InputError, match=r"more than 0 seconds\. Received: 0 and 0"):
        open_query_cache(max_age_s=0)
    with pytest.raises(InputError, match=r"redis://host:port/db\. Received: 'localhost'"):
        open_query_cache("localhost")


def test_a_hit_takes_far_less_than_a_millisecond() -> None:
    cache = MemoryQueryCache(64 << 20)
    texts = [f"query number {number}".encode() for number in range(2_000)]
    answer = {"embedding": np.zeros(256, np.float32)}
    cache.put_many({query_key(MODEL, text): answer for text in texts})
    seconds = []
    for text in texts:
        start = time.perf_counter()
        assert cache.get_many([query_key(MODEL, text)])
        seconds.append(time.perf_counter() - start)
    assert np.median(seconds) < 2e-4
