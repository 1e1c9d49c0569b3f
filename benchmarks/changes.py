"""Upserts and deletions of an index while it is searched. One JSON line.

    python benchmarks/changes.py [--size 100000] [--dimension 64] [--seconds 60]

Two threads search, one puts candidates in and takes them out again, and the index compacts itself
in the background meanwhile. A candidate is put in where it is the best of its own query, so that
each search can be held against what must be so: `lost` counts candidates that an `upsert` that had
returned put in and the next search did not find, `found_after_deletion` those that a `delete` that
had returned took out and a search that began later found, `missing_at_the_end` and
`left_at_the_end` the differences between the index and a plain dictionary. All must be 0.
"""

import argparse
import json
import os
import platform
import threading
import time
from collections import Counter
from typing import Any

import numpy as np
from neighbours.data import clustered

from tfrs_sage.index import build_index
from tfrs_sage.index.base import Index

NUM_QUERIES, K = 1000, 10
AT_ONCE, OLD_AT_ONCE = 50, 5  # candidates of a change; of those that were built, taken out
SEARCHED = 16  # queries of a search


class Trial:
    """One index under changes, and what was seen.

    Attributes:
        index: the index.
        expected: what it must hold.
        old: candidates that were built and are still in, in their order.
        counts: events by name.
        search_ms: how long each search took.
        searchers: identities of what searched, one more for each compaction that was swapped in.
    """

    def __init__(self, index: Index, queries: np.ndarray) -> None:
        self.index, self.queries = index, queries
        self.expected = set(index.ids)
        self.old = list(index.ids)
        self.counts: Counter[str] = Counter()
        self.search_ms: list[float] = []
        self.searchers: set[int] = set()
        self.gone: set[str] = set()  # deletions that have returned
        self.stop = threading.Event()

    def write(self) -> None:
        """Puts rows in that are the best of their own direction, and takes two of three out."""
        random = np.random.default_rng(1)
        turn = 0
        while not self.stop.is_set():
            rows = random.normal(size=(AT_ONCE, self.index.dimension)).astype(np.float32)
            rows *= 2 / np.linalg.norm(rows, axis=1, keepdims=True)
            ids = [f"new-{turn}-{i}" for i in range(AT_ONCE)]
            self.index.upsert(rows, ids)
            found = self.index.search(rows, 1)[0][:, 0]
            self.counts["upserts"] += AT_ONCE
            self.counts["lost"] += int(np.sum(found != ids))
            self.expected.update(ids)
            if turn % 3:
                out = [*ids, *self.old[:OLD_AT_ONCE]]
                del self.old[:OLD_AT_ONCE]
                self.counts["deletions"] += self.index.delete(out)
                self.gone.update(out)
                self.expected.difference_update(out)
            turn += 1

    def read(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        while not self.stop.is_set():
            asked = self.queries[random.integers(len(self.queries), size=SEARCHED)]
            before = self.gone.copy()
            start = time.perf_counter()
            ids, _ = self.index.search(asked, K)
            self.search_ms.append(1000 * (time.perf_counter() - start))
            self.counts["searches"] += SEARCHED
            self.counts["found_after_deletion"] += len(before & set(ids.ravel()))
            self.searchers.add(id(self.index.searcher))

    def run(self, seconds: float) -> None:
        threads = [threading.Thread(target=self.write)]
        threads += [threading.Thread(target=self.read, args=(seed,)) for seed in (2, 3)]
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        self.stop.set()
        for thread in threads:
            thread.join()
        self.index.compact()  # waits for the one in the background


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--size", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--kind", default="partitioned")
    options = parser.parse_args()
    vectors, queries = clustered(options.size, NUM_QUERIES, options.dimension, seed=0)
    ids = [f"old-{row}" for row in range(options.size)]
    index = build_index(vectors, ids, options.kind)
    trial = Trial(index, queries)
    trial.run(options.seconds)
    held = set(index.ids)
    result: dict[str, Any] = {
        "benchmark": "changes",
        **{name: getattr(options, name) for name in ("kind", "size", "dimension", "seconds")},
        **{name: trial.counts[name] for name in ("searches", "upserts", "deletions")},
        "compactions_seen": len(trial.searchers) - 1,
        "search_ms": {
            f"p{share}": round(float(np.percentile(trial.search_ms, share)), 2)
            for share in (50, 99)
        },
        "queries_a_search": SEARCHED,
        "lost": trial.counts["lost"],
        "found_after_deletion": trial.counts["found_after_deletion"],
        "missing_at_the_end": len(trial.expected - held),
        "left_at_the_end": len(held - trial.expected),
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
