"""Exact search: every candidate is scored, in bounded memory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfrs_sage.index.searcher import FloatArray, RowArray, Searcher

QUERY_CHUNK = 256
# Scores held at once: 4 Mi float32, and four times that in sort keys and partition order.
SCORE_BUDGET = 2**22


def exact_top_k(
    vectors: FloatArray, queries: FloatArray, k: int
) -> tuple[NDArray[np.int64], FloatArray]:
    """The `k` rows of `vectors` with the largest dot products, for each query.

    Args:
        vectors: float32 `[n, d]`.
        queries: float32 `[num_queries, d]`.
        k: 1 <= k <= n.

    Returns:
        rows: int64 `[num_queries, k]`, best first; equal scores in row order.
        scores: float32 `[num_queries, k]`.
    """
    rows = np.empty((len(queries), k), dtype=np.int64)
    scores = np.empty((len(queries), k), dtype=np.float32)
    for start in range(0, len(queries), QUERY_CHUNK):
        part = slice(start, start + QUERY_CHUNK)
        rows[part], scores[part] = _top_k_of_chunk(vectors, queries[part], k)
    return rows, scores


def _top_k_of_chunk(
    vectors: FloatArray, queries: FloatArray, k: int
) -> tuple[NDArray[np.int64], FloatArray]:
    """`exact_top_k` of few queries: candidates chunk by chunk, the best so far kept."""
    chunk = max(1024, SCORE_BUDGET // len(queries))
    best = np.empty((len(queries), 0), dtype=np.int64)
    for start in range(0, len(vectors), chunk):
        scores = queries @ vectors[start : start + chunk].T  # [num_queries, chunk]
        keys = _largest_of_scores(scores, start, k)
        best = _largest(np.concatenate([best, keys], axis=1), k)
    best = -np.sort(-best, axis=1)
    return _rows_of(best), _scores_of(best)


def _largest_of_scores(scores: FloatArray, first_row: int, k: int) -> NDArray[np.int64]:
    """Keys of the `k` largest scores of each row, in no order."""
    num_queries, width = scores.shape
    rows = np.broadcast_to(np.arange(first_row, first_row + width, dtype=np.int64), scores.shape)
    if width > k:
        # Keys are costly: without a tie at the k-th score, only k a query are needed.
        least = np.partition(scores, width - k, axis=1)[:, width - k, np.newaxis]
        columns = np.nonzero(scores >= least)[1]
        if len(columns) == num_queries * k:
            best = columns.reshape(num_queries, k)
            scores = np.take_along_axis(scores, best, axis=1)
            rows = best + first_row
    return _largest(_sort_keys(scores, rows), k)


def _largest(keys: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """The `k` largest keys of each row, in no order."""
    if keys.shape[1] <= k:
        return keys
    return np.partition(keys, keys.shape[1] - k, axis=1)[:, keys.shape[1] - k :]


# A score and its row in one int64, so that a partition of plain integers is exact and ties fall
# in row order: the upper half is the float's bits made monotonic (negative floats order
# backwards), the lower half counts rows downwards.


def _sort_keys(scores: FloatArray, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    bits = (scores + np.float32(0)).view(np.int32)  # + 0 turns -0.0 into 0.0
    ordered = np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits).astype(np.int64)
    return (ordered << 32) | (np.int64(0xFFFFFFFF) - rows)


def _rows_of(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.int64(0xFFFFFFFF) - (keys & np.int64(0xFFFFFFFF))


def _scores_of(keys: NDArray[np.int64]) -> FloatArray:
    ordered = (keys >> 32).astype(np.int32)
    return np.where(ordered < 0, ordered ^ np.int32(0x7FFFFFFF), ordered).view(np.float32)


class BruteForceSearcher(Searcher):
    """Exact search by matrix products; the truth that other kinds are measured against."""

    kind = "brute_force"
    is_exact = True

    @classmethod
    def build(
        cls,
        vectors: FloatArray,
        recall_target: float = 1.0,
        seed: int = 0,
        queries: FloatArray | None = None,
    ) -> tuple["BruteForceSearcher", dict[str, Any]]:
        return cls(vectors), {"recall": {"@10": 1.0, "@100": 1.0}}

    def search_rows(self, queries: FloatArray, k: int) -> tuple[RowArray, FloatArray]:
        return exact_top_k(self.vectors, queries, k)

    def save_assets(self, folder: Path) -> None:
        """Nothing beside the vectors."""

    @classmethod
    def load(
        cls, folder: Path, vectors: FloatArray, report: Mapping[str, Any]
    ) -> "BruteForceSearcher":
        return cls(vectors)
