"""The query cache in Redis, where several servers share one."""

import logging
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import predict_pb2

from serving.errors import ServingError
from serving.query_cache import Answer, QueryCache
from serving.tensors import from_proto
from tfrs_sage.redis_client import connect

logger = logging.getLogger(__name__)
# Version 2 of what is kept: other versions have other keys.
PREFIX = b"tfrs-sage:queries:2:"
TIMEOUT_S = 0.1  # a look-up that takes longer costs more than the model
RETRY_S = 5.0
# Before the answer, a PredictResponse: when it was made, seconds since the epoch.
_MADE_AT = struct.Struct("<d")
_Result = TypeVar("_Result")


class RedisQueryCache(QueryCache):
    """One key a text, which Redis lets expire. Let Redis evict: `maxmemory-policy allkeys-lru`.

    When Redis fails or is slow, requests go to the model. It is left alone for `RETRY_S` seconds
    before it is tried again; the log says when it went and when it came back, and `counts` what
    it cost.

    Args:
        url: as `tfrs_sage.redis_client.connect` takes it.
        max_age_s: seconds to expiry.
        clock: seconds since the epoch, the same on every server.

    Raises:
        ImportError: the Redis client is not installed.
        InputError: not an address of Redis. A Redis that does not answer yet is no error.
    """

    def __init__(self, url: str, max_age_s: float, clock: Callable[[], float] = time.time) -> None:
        self._redis, _, self._error = connect(
            url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S
        )
        self._max_age_ms, self._clock = max(1, round(1000 * max_age_s)), clock
        self._lock = threading.Lock()
        self._hits = self._misses = self._failures = self._left_alone = 0
        self._hit_age_s = 0.0
        self._down_until: float | None = None

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, Answer]:
        nothing: list[bytes | None] = [None] * len(keys)
        values = self._try(lambda: self._redis.mget([PREFIX + key for key in keys]), nothing)
        found, ages, now = {}, 0.0, self._clock()
        for key, value in zip(keys, values, strict=True):
            answer = None if value is None else _unpacked(value)
            if value is not None and answer:
                found[key] = answer
                ages += max(0.0, now - _MADE_AT.unpack_from(value)[0])
        with self._lock:
            self._hits += len(found)
            self._misses += len(keys) - len(found)
            self._hit_age_s += ages
        return found

    def put_many(self, answers: Mapping[bytes, Answer]) -> None:
        made_at = _MADE_AT.pack(self._clock())
        pipeline = self._redis.pipeline(transaction=False)
        for key, answer in answers.items():
            pipeline.set(PREFIX + key, made_at + _packed(answer), px=self._max_age_ms)
        self._try(pipeline.execute, None)

    def counts(self) -> dict[str, Any]:
        """Of this server: `hits`, `misses`, `mean_hit_age_s`; `failures`, calls that failed;
        `left_alone`, calls that were not made because one had failed; `is_down`.
        """
        with self._lock:
            return {
                "kind": "redis",
                "hits": self._hits,
                "misses": self._misses,
                "mean_hit_age_s": self._hit_age_s / self._hits if self._hits else 0.0,
                "failures": self._failures,
                "left_alone": self._left_alone,
                "is_down": self._down_until is not None,
            }

    def close(self) -> None:
        self._redis.close()

    def _try(self, call: Callable[[], _Result], otherwise: _Result) -> _Result:
        """The call's result; `otherwise` where Redis fails, or has just failed."""
        with self._lock:
            was_down = self._down_until is not None
            if self._down_until is not None and self._clock() < self._down_until:
                self._left_alone += 1
                return otherwise
        try:
            result = call()
        except self._error as error:
            with self._lock:
                self._failures += 1
                is_news, self._down_until = self._down_until is None, self._clock() + RETRY_S
            if is_news:
                logger.warning(
                    "the query cache in Redis fails, all texts go to the models: %s", error
                )
            return otherwise
        if was_down:
            with self._lock:
                is_news, self._down_until = self._down_until is not None, None
            if is_news:
                logger.warning("the query cache in Redis is back")
        return result


def _packed(answer: Answer) -> bytes:
    response = predict_pb2.PredictResponse()
    for name, values in answer.items():
        response.outputs[name].CopyFrom(tf.make_tensor_proto(values))
    return response.SerializeToString()


def _unpacked(value: bytes) -> Answer:
    """The answer after the time; an empty one where the value is none of ours."""
    try:
        response = predict_pb2.PredictResponse.FromString(value[_MADE_AT.size :])
        return {name: from_proto(name, proto) for name, proto in response.outputs.items()}
    except (DecodeError, ServingError):
        return {}
