"""One task's figures from exact ranks: recall, hit rate and NDCG at k, MRR, their intervals."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tfrs_sage.evaluation.intervals import bootstrap_intervals
from tfrs_sage.evaluation.pairs import pool_pairs
from tfrs_sage.evaluation.per_query import per_query
from tfrs_sage.evaluation.ranking import CHUNK_BYTES, rank_pairs
from tfrs_sage.evaluation.vector_blocks import VectorBlocks

KS = (10, 100)


def evaluate_task(
    query_vectors: npt.ArrayLike,
    candidate_vectors: npt.ArrayLike,
    pair_query: npt.ArrayLike,
    pair_candidate: npt.ArrayLike,
    ks: Sequence[int] = KS,
    distractors: VectorBlocks | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> dict[str, float | int]:
    """Figures of one task, or of a group of tasks whose pairs were pooled.

    A pair that is given twice counts once.

    Args:
        query_vectors: `[q, d]`.
        candidate_vectors: `[n, d]`, all candidates of the task's type.
        pair_query: int `[p]`, row of each pair's query.
        pair_candidate: int `[p]`, row of each pair's candidate.
        ks: cut-offs.
        distractors: further candidates, from disk.
        chunk_bytes: memory for scores.

    Returns:
        As `metrics_of_ranks`.

    Raises:
        ValueError: as `rank_pairs` and `metrics_of_ranks`.
    """
    query, candidate = pool_pairs([(pair_query, pair_candidate)])
    ranks = rank_pairs(
        query_vectors, candidate_vectors, query, candidate, distractors or (), chunk_bytes
    )
    size = np.shape(candidate_vectors)[0] + (distractors.count if distractors else 0)
    return metrics_of_ranks(ranks, query, size, ks)


def metrics_of_ranks(
    ranks: npt.ArrayLike, pair_query: npt.ArrayLike, index_size: int, ks: Sequence[int] = KS
) -> dict[str, float | int]:
    """Figures from the ranks of distinct pairs.

    Recall@k is the share of pairs of rank k or better: pairs weigh the same, not queries. The
    others are means over queries, as `per_query` defines them; MRR is not cut off.

    Args:
        ranks: int `[p]`, 1 is the best.
        pair_query: int `[p]`, query of each pair.
        index_size: number of candidates ranked.
        ks: cut-offs.

    Returns:
        `recall@k`, `hit_rate@k` and `ndcg@k` for each k, `mrr`, `num_pairs`, `num_queries`,
        `index_size`.

    Raises:
        ValueError: there is no pair, or a `k` is not positive.
    """
    rank = np.asarray(ranks, dtype=np.int64)
    if not rank.size:
        raise ValueError("metrics need at least one (query, positive) pair. Received: none.")
    values = per_query(rank, pair_query, ks)
    metrics: dict[str, float | int] = {
        name: float(np.average(value, weights=weight)) for name, (value, weight) in values.items()
    }
    metrics |= {f"recall@{k}": float(np.mean(rank <= k)) for k in ks}
    metrics["num_pairs"] = int(rank.size)
    metrics["num_queries"] = len(values["mrr"][0])
    metrics["index_size"] = int(index_size)
    return metrics


def intervals_of_ranks(
    ranks: npt.ArrayLike,
    pair_query: npt.ArrayLike,
    ks: Sequence[int] = KS,
    num_samples: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """95% bootstrap intervals over queries of the figures of `metrics_of_ranks`, by name."""
    return bootstrap_intervals(per_query(ranks, pair_query, ks), num_samples, seed)
