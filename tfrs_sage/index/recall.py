"""How many of the true neighbours an approximate search finds, and how fast."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfrs_sage.index.brute_force import exact_top_k

NUM_QUERIES = 500
DEPTHS = (10, 100)
NOISE = 0.3  # length of the noise as a share of the vector's, see `held_out_queries`

Search = Callable[[NDArray[np.float32], int], tuple[NDArray[np.int64], NDArray[np.float32]]]


@dataclass(frozen=True)
class Measurement:
    """Recall at each depth against exact search, and the speed at the first depth."""

    recall: dict[int, float]
    queries_per_second: float

    @property
    def worst(self) -> float:
        return min(self.recall.values())

    def to_json(self) -> dict[str, Any]:
        return {
            "recall": {f"@{depth}": round(value, 4) for depth, value in self.recall.items()},
            "queries_per_second": round(self.queries_per_second),
        }


def held_out_queries(
    vectors: NDArray[np.float32], seed: int, queries: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Queries that are near the candidates but none of them, beside given ones.

    A candidate itself would be too easy a query: it is its own first neighbour. So rows
    are drawn and moved by Gaussian noise of `NOISE` times their length. Queries of another
    kind, such as texts, lie elsewhere, and their neighbours in more leaves: recall is stated for
    them too where they are given.

    Returns:
        float32 `[min(n, NUM_QUERIES), d]`, and at most `NUM_QUERIES` of `queries`.
    """
    rng = np.random.default_rng(seed)
    count, dimension = vectors.shape
    rows = np.sort(rng.choice(count, size=min(count, NUM_QUERIES), replace=False))
    drawn = vectors[rows]
    noise = rng.normal(size=drawn.shape) / np.sqrt(dimension)
    lengths = np.linalg.norm(drawn, axis=1, keepdims=True)
    moved = (drawn + NOISE * lengths * noise).astype(np.float32)
    if queries is None:
        return moved
    given = rng.choice(len(queries), size=min(len(queries), NUM_QUERIES), replace=False)
    return np.concatenate([moved, queries[given]])


class RecallMeter:
    """Measures searches over the same candidates with the same queries.

    The exact neighbours are computed once. A neighbour counts as found when its score
    reaches the k-th exact score less a rounding tolerance, so that equal candidates may
    stand for each other.
    """

    def __init__(self, vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> None:
        self._vectors = vectors
        self._queries = queries
        self.depths = tuple(sorted({min(depth, len(vectors)) for depth in DEPTHS}))
        _, self._scores = exact_top_k(vectors, queries, self.depths[-1])

    @property
    def count(self) -> int:
        """Number of candidates."""
        return len(self._vectors)

    def measure(self, search: Search) -> Measurement:
        """Recall at every depth; time of the shallowest, batched."""
        recall = {}
        seconds = 0.0
        for depth in reversed(self.depths):  # the timed depth comes last, when caches are warm
            start = time.perf_counter()
            rows, _ = search(self._queries, depth)
            seconds = time.perf_counter() - start
            recall[depth] = self._recall(rows, depth)
        return Measurement(dict(sorted(recall.items())), len(self._queries) / max(seconds, 1e-9))

    def _recall(self, rows: NDArray[np.int64], depth: int) -> float:
        kth = self._scores[:, depth - 1]
        found = 0
        for query, query_rows, least in zip(self._queries, rows, kth, strict=True):
            scores = self._vectors[np.unique(query_rows)] @ query
            found += int((scores >= least - 1e-5 * (1 + abs(least))).sum())
        return min(1.0, found / (len(self._queries) * depth))
