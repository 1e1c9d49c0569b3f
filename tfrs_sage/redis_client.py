"""A connection to Redis, or what to do to get one."""

from typing import Any, NamedTuple

from tfrs_sage.errors import InputError

SCHEMES = ("redis", "rediss", "unix")


class Connection(NamedTuple):
    """A client and what its calls raise.

    Attributes:
        client: safe for threads and for forked processes; connects when it is first used.
        outages: Redis cannot be reached.
        error: what every error of Redis is one of.
    """

    client: Any
    outages: tuple[type[Exception], ...]
    error: type[Exception]


def connect(url: str, **options: Any) -> Connection:
    """A client of the Redis at an address.

    Args:
        url: `redis://host:port/db`, `rediss://...` (TLS), `unix:///path/of/the/socket`.
        options: of `redis.Redis`.

    Raises:
        ImportError: the Redis client is not installed.
        InputError: not an address of Redis.
    """
    try:
        import redis
    except ImportError as error:
        raise ImportError(
            "Redis needs its client. Found: none. pip install 'tfrs-sage[redis]'."
        ) from error
    try:
        client = redis.Redis.from_url(url, **options)
    except ValueError as error:
        raise InputError(
            f"An address of Redis is written redis://host:port/db. Received: {url!r} ({error})."
        ) from error
    errors = redis.exceptions
    return Connection(client, (errors.ConnectionError, errors.TimeoutError), errors.RedisError)
