"""What every side of the encoder's benchmark answers."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.step.protocol import answer, peak_memory_bytes, usage

Encode = Callable[[list[str]], np.ndarray]


def serve(first: Any, encode: Encode) -> None:
    """Answers until stdin ends.

    Args:
        first: what is said at the start.
        encode: float32 `[n, d]` of n texts.
    """

    def seconds(texts: list[str], batch_size: int) -> list[float]:
        """Of each call."""
        times = []
        for start in range(0, len(texts), batch_size):
            batch = texts[start : start + batch_size]
            begin = time.perf_counter()
            encode(batch)
            times.append(time.perf_counter() - begin)
        return times

    def vectors(texts: list[str], path: str) -> str:
        np.save(path, encode(texts))
        return path

    functions = {
        "seconds": seconds,
        "vectors": vectors,
        "usage": usage,
        "peak_memory_bytes": peak_memory_bytes,
    }
    answer(first, functions)
