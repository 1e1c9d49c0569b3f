"""Clusters and medoids of users beside SciPy's and fastcluster's: users/s, memory, equality.

    python benchmarks/user_clustering.py [m ...]

One JSON line for each m. The users are `m x 256` float32 unit vectors around m / 20 centres; all
programs see the same ones, in turns, on one thread, and give the same clusters and medoids (else
the run fails). Time is the thread's own CPU time, which on a machine that others use too is what
the wall clock shows on an idle one; figures are of the best of all rounds, and `speedup_median` is
the median of SciPy's time by ours within a round.

- ours: `ward_many` and `medoids_many` over all users (`one_by_one`: `ward` and `medoids`);
- scipy: `linkage(vectors, "ward")`, `fcluster`, then medoids in numpy;
- fastcluster: its `linkage(vectors, "ward")` in place of SciPy's.

Memory is what one user adds at the peak, in units of m^2 float32 numbers: as Python's tracemalloc
counts it, and as the resident set of a fresh process grows; `input` is the size of the vectors
themselves, a copy of which is most of what there is where m is less than their width.
"""

import json
import multiprocessing
import os
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import fastcluster
import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import fcluster, linkage

from tfrs_sage.users import medoids, medoids_many, ward, ward_many

DIM = 256
THRESHOLD = 2.0
NOISE = 0.04  # of each entry: an action is about 0.64 from its centre
SECONDS = 10.0
# Rows in all, so that a round of any m takes about as long to make.
ROWS = 2000
# Read when numpy is first imported.
ONE_THREAD = {name: "1" for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}

Vectors = npt.NDArray[np.float32]
Answer = list[tuple[npt.NDArray, npt.NDArray]]


def actions(num_actions: int, seed: int = 0) -> Vectors:
    """Unit vectors `[num_actions, DIM]` of a user with one interest for every 20 actions."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(max(3, num_actions // 20), DIM))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    vectors = centres[random.integers(len(centres), size=num_actions)]
    vectors = vectors + random.normal(scale=NOISE, size=vectors.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


def ours(users: list[Vectors]) -> Answer:
    labels = ward_many(users, THRESHOLD)
    return list(zip(labels, medoids_many(users, labels), strict=True))


def one_by_one(users: list[Vectors]) -> Answer:
    found = []
    for vectors in users:
        labels = ward(vectors, THRESHOLD)
        found.append((labels, medoids(vectors, labels)))
    return found


def peer(users: list[Vectors], link: Callable[..., npt.NDArray] = linkage) -> Answer:
    """The same by a library's `linkage`; the medoid is the row nearest to the mean."""
    found = []
    for vectors in users:
        labels = fcluster(link(vectors, "ward"), np.sqrt(THRESHOLD), "distance")
        rows = []
        for label in range(1, labels.max() + 1):
            members = np.flatnonzero(labels == label)
            inside = vectors[members]
            offsets = inside - inside.mean(axis=0)
            rows.append(members[np.einsum("ij,ij->i", offsets, offsets).argmin()])
        found.append((labels, np.array(rows)))
    return found


def fast(users: list[Vectors]) -> Answer:
    return peer(users, fastcluster.linkage)


def same(left: Answer, right: Answer) -> bool:
    """Whether clusters are one up to their names, and the medoids of all larger than two."""
    for (labels, rows), (other, other_rows) in zip(left, right, strict=True):
        pairs = set(zip(labels.tolist(), other.tolist(), strict=True))
        if not len(pairs) == len(set(labels.tolist())) == len(set(other.tolist())):
            return False
        # Of two, either is a medoid: ours is the earlier one, the mean's rounding decides there.
        large = np.bincount(labels)[labels[rows]] > 2
        if not set(rows[large].tolist()) <= set(other_rows.tolist()):
            return False
    return True


def rounds(users: list[Vectors]) -> dict[str, list[float]]:
    """CPU seconds of each program in each round, in turns, for about `SECONDS`."""
    calls = {"ours": ours, "one_by_one": one_by_one, "scipy": peer, "fastcluster": fast}
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + SECONDS
    while len(times["ours"]) < 5 or time.perf_counter() < end:
        for name, call in calls.items():
            start = time.thread_time()
            call(users)
            times[name].append(time.thread_time() - start)
    return times


def resident_peak() -> int:
    """Largest resident set since `clear_refs`, in bytes (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def resident_growth(num_actions: int) -> int:
    """Bytes that the resident set of this process grows by for one user at the peak."""
    one_by_one([actions(60)])
    vectors = [actions(num_actions)]
    Path("/proc/self/clear_refs").write_text("5")
    before = resident_peak()
    one_by_one(vectors)
    return resident_peak() - before


def memory(num_actions: int) -> dict[str, float]:
    """Peak of one user, in m^2 float32 numbers."""
    vectors = [actions(num_actions)]
    tracemalloc.start()
    one_by_one(vectors)
    traced = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        resident = pool.apply(resident_growth, (num_actions,))
    unit = 4 * num_actions**2
    return {
        "input": round(DIM / num_actions, 2),
        "memory_traced": round(traced / unit, 2),
        "memory_resident": round(resident / unit, 2),
    }


def main(sizes: list[int]) -> None:
    for size in sizes:
        users = [actions(size, seed) for seed in range(max(1, ROWS // size))]
        expected = peer(users)
        equal = all(same(call(users), expected) for call in (ours, one_by_one, fast))
        times = rounds(users)
        rate = {name: len(users) / min(seconds) for name, seconds in times.items()}
        ratios = np.array(times["scipy"]) / np.array(times["ours"])
        line = {
            "benchmark": "user_clustering",
            "num_actions": size,
            "dim": DIM,
            "num_users": len(users),
            **{f"{name}_users_per_s": round(value, 1) for name, value in rate.items()},
            "speedup": round(rate["ours"] / rate["scipy"], 2),
            "speedup_median": round(float(np.median(ratios)), 2),
            "speedup_one_by_one": round(rate["one_by_one"] / rate["scipy"], 2),
            "speedup_over_fastcluster": round(rate["ours"] / rate["fastcluster"], 2),
            "equal_clusters": equal,
            **memory(size),
        }
        print(json.dumps(line), flush=True)
        if not equal:
            sys.exit("clusters or medoids differ")


if __name__ == "__main__":
    if not os.environ.items() >= ONE_THREAD.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ONE_THREAD})
    main([int(word) for word in sys.argv[1:]] or [50, 200, 500, 2000])
