"""Both stores, one after the other."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.users.stores import redis_server


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    # Not pytest's folder, whose path may be too long for a socket.
    with tempfile.TemporaryDirectory() as folder, redis_server(Path(folder)) as url:
        yield url


@pytest.fixture(params=["sqlite", "redis"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty store."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/users.sqlite"
    url: str = request.getfixturevalue("redis_url")
    import redis

    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url
