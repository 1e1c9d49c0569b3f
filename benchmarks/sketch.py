"""Speed, memory and error of the count-min sketch, beside exact counts in a dict. One JSON line.

    python benchmarks/sketch.py

A Zipf stream of ids is counted batch by batch in one compiled `tf.function`, as a training step
does it, then looked up. `per_second` is ids a second, the best of several passes. The peer is
Python's `collections.Counter` over the same batches, which is exact and grows with the ids.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

import tfrs_sage

import tensorflow as tf  # isort: skip

from tfrs_sage.losses import CountMinSketch

WIDTHS = (2**20, 2**24)
BATCHES = (256, 1024)
NUM_IDS = 2**20  # of the stream
NUM_ITEMS = 1_000_000  # of the catalogue; frequency 1 / rank
REPEATS = 3

Ids = npt.NDArray[np.int64]


def zipf_stream(seed: int = 0) -> Ids:
    """`[NUM_IDS]` ids, 63-bit fingerprints of items drawn with Zipf's frequencies."""
    rng = np.random.default_rng(seed)
    cumulative = np.cumsum(1 / np.arange(1, NUM_ITEMS + 1))
    ranks = np.searchsorted(cumulative, rng.random(NUM_IDS) * cumulative[-1])
    return rng.integers(0, 2**63 - 1, NUM_ITEMS)[ranks]


def best_rate(call: Callable[[], Any]) -> int:
    """Ids of the stream per second, the best of several calls after a first one."""
    call()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return round(NUM_IDS / min(seconds))


def sketch_rates(width: int, stream: Ids, batch: int) -> dict[str, int]:
    """Updates and look-ups per second, every batch an iteration of a loop in the graph."""
    sketch = CountMinSketch(width)
    batches = tf.constant(stream.reshape(-1, batch))

    @tf.function
    def update() -> None:
        for ids in batches:
            sketch.update(ids)

    @tf.function
    def look_up() -> tf.Tensor:
        total = tf.constant(0)
        for ids in batches:
            total += tf.reduce_sum(sketch(ids))
        return total

    return {"updates_per_second": best_rate(update), "look_ups_per_second": best_rate(look_up)}


def quality(width: int, stream: Ids) -> dict[str, Any]:
    """How far the estimates of all distinct ids are above their counts after one pass."""
    sketch = CountMinSketch(width)
    sketch.update(tf.constant(stream))
    ids, counts = np.unique(stream, return_counts=True)
    above = sketch(tf.constant(ids)).numpy() - counts
    bound = 2 * NUM_IDS / width
    return {
        "undercounted": int((above < 0).sum()),
        "mean_overestimate": round(float(above.mean()), 4),
        "largest_overestimate": int(above.max()),
        "share_exact": round(float((above == 0).mean()), 4),
        "bound": bound,
        "share_above_bound": round(float((above > bound).mean()), 5),
    }


def counter_rates(stream: Ids, batch: int) -> dict[str, int]:
    """The same of `collections.Counter`; the ids are Python ints already."""
    batches = [part.tolist() for part in stream.reshape(-1, batch)]
    counts: Counter[int] = Counter()

    def update() -> None:
        for ids in batches:
            counts.update(ids)

    def look_up() -> int:
        return sum(sum(counts[one] for one in ids) for ids in batches)

    return {"updates_per_second": best_rate(update), "look_ups_per_second": best_rate(look_up)}


def counter_bytes(stream: Ids) -> int:
    """Memory of the exact counts: the table of the dict, its keys and its large values."""
    counts = Counter(stream.tolist())
    values = sum(sys.getsizeof(count) for count in counts.values() if count > 256)
    return sys.getsizeof(counts) + sum(map(sys.getsizeof, counts)) + values


def main() -> None:
    stream = zipf_stream()
    result: dict[str, Any] = {
        "benchmark": "sketch",
        "version": tfrs_sage.__version__,
        "stream": f"{NUM_IDS} ids, {len(np.unique(stream))} distinct, Zipf over {NUM_ITEMS}",
        "depth": CountMinSketch(2).depth,
    }
    for width in WIDTHS:
        rates = {f"batch_{size}": sketch_rates(width, stream, size) for size in BATCHES}
        memory = 4 * CountMinSketch(2).depth * width
        result[f"width_{width}"] = {"bytes": memory, **rates, **quality(width, stream)}
    peer = {f"batch_{size}": counter_rates(stream, size) for size in BATCHES}
    result["peer"] = {"what": "collections.Counter", "bytes": counter_bytes(stream), **peer}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
