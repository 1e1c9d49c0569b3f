"""One contestant in a process of its own: build, then speed and recall at every setting.

    python contest.py FOLDER NAME [--build-only]

FOLDER holds vectors.npy, queries.npy, truth.npy (`[num_queries, 10]`). Building may take two
threads; searching takes one, on one core. Prints one JSON object. Needs only numpy and whatever
the contestant is made of.
"""

import argparse
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

K = 10
RECALLS = (0.90, 0.95, 0.99)
BUILD_THREADS = 2
REPEATS, NUM_SINGLE = 3, 200
WHERE = {
    "brute_force": "ours",
    "partitioned": "ours",
    "partitioned_bfloat16": "ours",
    "scann_through_index": "ours",
    "scann": "ours",
    "hnswlib": "peers",
    "faiss_flat": "peers",
    "faiss_ivf": "peers",
    "faiss_ivf_pq": "peers",
    "voyager": "peers",
}


class Contestant(Protocol):
    """An index that is built in a folder, opened from it and asked at several settings."""

    def build(self, vectors: np.ndarray, folder: Path) -> None:
        """Builds and writes into `folder`, on at most `BUILD_THREADS` threads."""

    def open(self, folder: Path) -> None:
        """Reads what `build` wrote, for one thread."""

    def settings(self) -> Iterator[Any]:
        """Settings to try, the cheapest first."""

    def search(self, queries: np.ndarray, setting: Any) -> np.ndarray:
        """Rows `[num_queries, K]` of the nearest; all of them at once."""

    def versions(self) -> dict[str, str]:
        """Of what it is made of."""


def resident_bytes() -> int:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def fastest(call: Callable[[], Any], repeats: int = REPEATS) -> float:
    """Seconds of the fastest of several calls after a first one."""
    call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    """Share of the true neighbours that were found."""
    return float(np.mean([len(set(a) & set(b)) / K for a, b in zip(found, truth, strict=True)]))


def measure(contestant: Contestant, queries: np.ndarray, truth: np.ndarray) -> list[dict[str, Any]]:
    """Recall and speed at each setting, until the highest recall is reached."""
    points = []
    for setting in contestant.settings():
        found = recall(contestant.search(queries, setting), truth)
        if found < RECALLS[0] - 0.05:
            continue
        seconds = fastest(lambda: contestant.search(queries, setting))  # noqa: B023
        singles = [queries[i : i + 1] for i in range(min(NUM_SINGLE, len(queries)))]
        one_by_one = fastest(lambda: [contestant.search(q, setting) for q in singles], 2)  # noqa: B023
        points.append(
            {
                "setting": setting,
                "recall": round(found, 4),
                "queries_per_second": round(len(queries) / seconds, 1),
                "one_by_one_per_second": round(len(singles) / one_by_one, 1),
            }
        )
        print(f"  {points[-1]}", file=sys.stderr, flush=True)
        if found >= RECALLS[-1]:
            break
    return points


def at_recalls(points: list[dict[str, Any]], speed: str) -> dict[str, dict[str, Any] | None]:
    """The fastest point that reaches each recall; None where none does."""
    best = {}
    for target in RECALLS:
        reaching = [point for point in points if point["recall"] >= target]
        best[f"{target:.2f}"] = max(reaching, key=lambda p: p[speed]) if reaching else None
    return best


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("name", choices=WHERE)
    parser.add_argument("--build-only", action="store_true")
    options = parser.parse_args()
    contestant: Contestant = importlib.import_module(WHERE[options.name]).make(options.name)
    folder = options.folder / options.name
    vectors = np.load(options.folder / "vectors.npy", mmap_mode="r")
    if options.build_only:
        folder.mkdir(exist_ok=True)
        data = np.array(vectors)
        start = time.perf_counter()
        contestant.build(data, folder)
        print(json.dumps({"build_seconds": round(time.perf_counter() - start, 1)}))
        return
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    before = resident_bytes()
    contestant.open(folder)
    queries = np.load(options.folder / "queries.npy")
    contestant.search(queries[:10], next(iter(contestant.settings())))
    memory = resident_bytes() - before
    points = measure(contestant, queries, np.load(options.folder / "truth.npy"))
    result = {
        "memory_mb": round(memory / 2**20),
        "at_recall": at_recalls(points, "queries_per_second"),
        "one_by_one_at_recall": at_recalls(points, "one_by_one_per_second"),
        "versions": contestant.versions(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
