"""Recall, speed and cost of every kind over the same candidates, as one table."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tfrs_sage.errors import InputError
from tfrs_sage.index.build import KINDS, build_index
from tfrs_sage.index.recall import RecallMeter, held_out_queries
from tfrs_sage.index.searcher import FloatArray, Searcher

REPEATS, NUM_SINGLE = 3, 100


def compare_kinds(
    vectors: FloatArray,
    recall_target: float = 0.95,
    seed: int = 0,
    queries: FloatArray | None = None,
) -> list[dict[str, Any]]:
    """Builds every kind and measures it on one core.

    Args:
        vectors: float32 `[n, d]`.
        recall_target: as in `build_index`.
        seed: of the builds. The queries that are measured with are drawn by another one.
        queries: as in `build_index`.

    Returns:
        One row a kind: `kind`, `build_seconds`, `recall@10`, `recall@100`, `queries_per_second`
        for a batch, `one_by_one_per_second`, `parameters`, `curve` (recall@10 and queries a second
        at other settings, of approximate kinds); or `kind` and `failed`, why there is
        none: the kind is not installed here or does not reach the target.
    """
    asked = held_out_queries(vectors, seed + 1, queries)
    meter = RecallMeter(vectors, asked)
    ids = [str(row) for row in range(len(vectors))]
    rows: list[dict[str, Any]] = []
    for kind in KINDS:
        start = time.perf_counter()
        try:
            index = build_index(vectors, ids, kind, recall_target, seed=seed, queries=queries)
        except (ImportError, InputError) as error:
            rows.append({"kind": kind, "failed": str(error)})
            continue
        built = time.perf_counter() - start
        with one_core():
            recall = meter.measure(index.search_rows).recall
            batch = _fastest(lambda: index.search(asked, 10))  # noqa: B023
            singles = [asked[i : i + 1] for i in range(min(NUM_SINGLE, len(asked)))]
            alone = _fastest(lambda: [index.search(one, 10) for one in singles])  # noqa: B023
            curve = [_point(meter, one) for one in index.searcher.at_other_settings()]
        rows.append(
            {
                "kind": kind,
                "build_seconds": round(built, 1),
                **{f"recall@{depth}": round(value, 4) for depth, value in recall.items()},
                "queries_per_second": round(len(asked) / batch),
                "one_by_one_per_second": round(len(singles) / alone),
                "parameters": index.report.get("parameters", {}),
                "curve": curve,
            }
        )
    return rows


def _point(meter: RecallMeter, searcher: Searcher) -> dict[str, float]:
    """Recall and speed of a batch at one setting."""
    found = meter.measure(searcher.search_rows)
    return {
        "recall@10": round(found.recall[min(found.recall)], 4),
        "queries_per_second": round(found.queries_per_second),
    }


def _fastest(call: Callable[[], Any]) -> float:
    """Seconds of the fastest of several calls."""
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return max(min(seconds), 1e-9)


@contextmanager
def one_core() -> Iterator[None]:
    """Keeps every thread of this process on one core, where the system can (Linux)."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    _move_threads({max(before)})
    try:
        yield
    finally:
        _move_threads(before)


def _move_threads(cores: set[int]) -> None:
    for task in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(task), cores)
