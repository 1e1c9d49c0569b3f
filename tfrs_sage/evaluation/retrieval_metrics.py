"""One task's figures: recall@k over pairs and MRR over queries, from exact ranks."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tfrs_sage.evaluation.pairs import pool_pairs
from tfrs_sage.evaluation.ranking import CHUNK_BYTES, rank_pairs

KS = (10, 100)

Values = npt.NDArray[np.float64]


def evaluate_task(
    query_vectors: npt.ArrayLike,
    candidate_vectors: npt.ArrayLike,
    pair_query: npt.ArrayLike,
    pair_candidate: npt.ArrayLike,
    ks: Sequence[int] = KS,
    chunk_bytes: int = CHUNK_BYTES,
) -> dict[str, float | int]:
    """Figures of one task, or of a group of tasks whose pairs were pooled.

    A pair that is given twice counts once.

    Args:
        query_vectors: `[q, d]`.
        candidate_vectors: `[n, d]`, all candidates of the task's type.
        pair_query: int `[p]`, row of each pair's query.
        pair_candidate: int `[p]`, row of each pair's candidate.
        ks: cut-offs of recall.
        chunk_bytes: memory for scores.

    Returns:
        `recall@k` for each k, `mrr`, `num_pairs`, `num_queries`, `index_size`.

    Raises:
        ValueError: as `rank_pairs` and `metrics_of_ranks`.
    """
    query, candidate = pool_pairs([(pair_query, pair_candidate)])
    ranks = rank_pairs(query_vectors, candidate_vectors, query, candidate, chunk_bytes)
    return metrics_of_ranks(ranks, query, np.shape(candidate_vectors)[0], ks)


def metrics_of_ranks(
    ranks: npt.ArrayLike, pair_query: npt.ArrayLike, index_size: int, ks: Sequence[int] = KS
) -> dict[str, float | int]:
    """Figures from the ranks of distinct pairs.

    Recall@k is the share of pairs of rank k or better: pairs weigh the same, not queries. MRR is
    the mean over queries of 1 / (rank of the query's best-ranked positive), not cut off.

    Args:
        ranks: int `[p]`, 1 is the best.
        pair_query: int `[p]`, query of each pair.
        index_size: number of candidates ranked.
        ks: cut-offs of recall.

    Returns:
        `recall@k` for each k, `mrr`, `num_pairs`, `num_queries`, `index_size`.

    Raises:
        ValueError: there is no pair, or a `k` is not positive.
    """
    rank = np.asarray(ranks, dtype=np.int64)
    if not rank.size:
        raise ValueError("metrics need at least one (query, positive) pair. Received: none.")
    if min(ks, default=1) < 1:
        raise ValueError(f"`ks` must be positive ints. Received: {tuple(ks)}.")
    reciprocal = reciprocal_rank_per_query(rank, pair_query)
    metrics: dict[str, float | int] = {f"recall@{k}": float(np.mean(rank <= k)) for k in ks}
    metrics["mrr"] = float(reciprocal.mean())
    metrics["num_pairs"] = int(rank.size)
    metrics["num_queries"] = int(reciprocal.size)
    metrics["index_size"] = int(index_size)
    return metrics


def recall_per_query(
    ranks: npt.ArrayLike, pair_query: npt.ArrayLike, k: int
) -> tuple[Values, Values]:
    """Each query's recall@k and its weight, for `bootstrap_interval`.

    Args:
        ranks: int `[p]`.
        pair_query: int `[p]`, query of each pair.
        k: the cut-off.

    Returns:
        Share of each query's positives of rank k or better, and the number of its positives, both
        float64 `[distinct queries]` in order of the query number. The weighted mean is recall@k.
    """
    query = np.unique(np.asarray(pair_query), return_inverse=True)[1]
    weights = np.bincount(query).astype(np.float64)
    hits = np.bincount(query, weights=np.asarray(ranks) <= k)
    return hits / weights, weights


def reciprocal_rank_per_query(ranks: npt.ArrayLike, pair_query: npt.ArrayLike) -> Values:
    """1 / rank of each query's best-ranked positive, float64 `[distinct queries]` by number."""
    rank = np.asarray(ranks, dtype=np.int64)
    query = np.asarray(pair_query, dtype=np.int64)
    if rank.shape != query.shape or rank.ndim != 1:
        raise ValueError(
            f"`ranks` and `pair_query` must be vectors of one length. Received: shapes "
            f"{rank.shape} and {query.shape}."
        )
    inverse = np.unique(query, return_inverse=True)[1]
    best = np.full(inverse.max(initial=-1) + 1, np.iinfo(np.int64).max)
    np.minimum.at(best, inverse, rank)
    return 1.0 / best
