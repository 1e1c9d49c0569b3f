"""What the tests of both stores share: a real Redis server, users, vectors."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tfrs_sage.users.clusters import Cluster, UserClusters
from tfrs_sage.users.config import ClusterConfig

DAY = 86_400.0
CONFIG = ClusterConfig(threshold=0.5, online_actions=5)


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """URL of a server of its own on a unix socket; skips where there is no Redis.

    Args:
        folder: short enough that the socket's path has at most 100 characters.
    """
    pytest.importorskip("redis", reason="the Redis client is not installed (extra `redis`)")
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("no redis-server on this machine (Debian: apt-get install redis-server)")
    socket, log = folder / "redis.sock", folder / "redis.log"
    options = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(folder)]
    with open(log, "wb") as output:
        server = subprocess.Popen([binary, *options], stdout=output, stderr=output)
    try:
        for _ in range(200):
            if socket.exists():
                break
            assert server.poll() is None, log.read_text()
            time.sleep(0.05)
        else:
            pytest.fail(f"Redis did not come up within 10 s: {log.read_text()}")
        yield f"unix://{socket}"
    finally:
        server.terminate()
        server.wait(10)


def vector_of(item_id: str) -> np.ndarray | None:
    """Items are `<axis>.<number>`: near the axis, a little off it; others are not known."""
    axis, _, number = item_id.partition(".")
    if not axis.isdigit():
        return None
    vector = np.zeros(8, np.float32)
    vector[int(axis)] = 1.0
    vector[7] = 0.01 * int(number or 0)
    return vector


def cluster(medoid_id: str, size: int = 1, time: float = 0.0) -> Cluster:
    return Cluster(medoid_id, size, float(size), time, time, (medoid_id,) * size)


def user(user_id: str, as_of: float, *clusters: Cluster) -> UserClusters:
    return UserClusters(user_id, clusters, as_of, sum(one.size for one in clusters))
