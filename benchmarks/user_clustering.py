"""Ward clustering of one user's actions beside SciPy's: time, and that the clusters are equal.

    python benchmarks/user_clustering.py [m ...]

One JSON line for each m: best times of several runs over the same m x 256 float32 unit vectors
around m / 20 centres. The peer is `fcluster(linkage(vectors, "ward"), sqrt(threshold),
"distance")`.
"""

import json
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import fcluster, linkage

from tfrs_sage.users import ward

DIM = 256
THRESHOLD = 2.0
NOISE = 0.04  # of each entry: an action is about 0.64 from its centre


def actions(num_actions: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Unit vectors `[num_actions, DIM]` of a user with one interest for every 20 actions."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(max(3, num_actions // 20), DIM))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    vectors = centres[random.integers(len(centres), size=num_actions)]
    vectors = vectors + random.normal(scale=NOISE, size=vectors.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


def best_ms(call: Callable[[], object], seconds: float = 2.0) -> float:
    """Least milliseconds of a call, repeated for about `seconds`, five times at least."""
    best, end, calls = np.inf, time.perf_counter() + seconds, 0
    while calls < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best, calls = min(best, time.perf_counter() - start), calls + 1
    return 1000 * best


def same_clusters(left: npt.NDArray, right: npt.NDArray) -> bool:
    """Whether two labellings are one up to the names of the labels."""
    pairs = set(zip(left.tolist(), right.tolist(), strict=True))
    return len(pairs) == len(set(left.tolist())) == len(set(right.tolist()))


def scipy_ward(vectors: npt.NDArray) -> npt.NDArray:
    """The same clusters by SciPy."""
    return fcluster(linkage(vectors, "ward"), np.sqrt(THRESHOLD), "distance")


def main(sizes: list[int]) -> None:
    for size in sizes:
        vectors = actions(size)

        peer = partial(scipy_ward, vectors)
        ours_ms = best_ms(partial(ward, vectors, THRESHOLD))
        scipy_ms = best_ms(peer)
        labels = ward(vectors, THRESHOLD)
        line = {
            "benchmark": "user_clustering",
            "num_actions": size,
            "dim": DIM,
            "num_clusters": int(labels.max()) + 1,
            "ward_ms": round(ours_ms, 3),
            "scipy_ms": round(scipy_ms, 3),
            "speedup": round(scipy_ms / ours_ms, 2),
            "equal_clusters": same_clusters(labels, peer()),
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [50, 100, 200, 500, 1000, 2000])
