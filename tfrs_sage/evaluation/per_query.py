"""Each query's share in a figure: what intervals, paired tests and slices are made of."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Weighted = tuple[Values, Values]


def per_query(
    ranks: npt.ArrayLike, pair_query: npt.ArrayLike, ks: Sequence[int]
) -> dict[str, Weighted]:
    """Every figure as values and weights of the queries, whose weighted mean it is.

    - `recall@k`: share of the query's positives of rank k or better, weighted by their number;
    - `hit_rate@k`: 1 where any positive has rank k or better;
    - `ndcg@k`: `sum over positives of rank r <= k of 1 / log2(r + 1)`, divided by what the best
      order reaches (every positive has the gain 1; `judgments.ndcg_at_k` takes grades);
    - `mrr`: 1 / rank of the best-ranked positive.

    Args:
        ranks: int `[p]`, 1 is the best, of distinct pairs.
        pair_query: int `[p]`, query of each pair.
        ks: cut-offs.

    Returns:
        By name, values and weights, both float64 `[distinct queries]` in order of the query
        number.

    Raises:
        ValueError: lengths differ, or a `k` is not positive.

    References:
        Järvelin and Kekäläinen, TOIS 2002 (NDCG); Voorhees, TREC-8 1999 (MRR).
    """
    if min(ks, default=1) < 1:
        raise ValueError(f"`ks` must be positive ints. Received: {tuple(ks)}.")
    reciprocal = reciprocal_rank_per_query(ranks, pair_query)
    same = np.ones_like(reciprocal)
    figures: dict[str, Weighted] = {}
    for k in ks:
        recall = recall_per_query(ranks, pair_query, k)
        figures[f"recall@{k}"] = recall
        figures[f"hit_rate@{k}"] = (recall[0] > 0).astype(np.float64), same
        figures[f"ndcg@{k}"] = ndcg_per_query(ranks, pair_query, k), same
    figures["mrr"] = reciprocal, same
    return figures


def recall_per_query(ranks: npt.ArrayLike, pair_query: npt.ArrayLike, k: int) -> Weighted:
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


def ndcg_per_query(ranks: npt.ArrayLike, pair_query: npt.ArrayLike, k: int) -> Values:
    """NDCG@k of each query with gains of 1, float64 `[distinct queries]` by number."""
    rank = np.asarray(ranks, dtype=np.int64)
    query = np.unique(np.asarray(pair_query), return_inverse=True)[1]
    gains = np.where(rank <= k, 1.0 / np.log2(rank + 1.0), 0.0)
    return np.bincount(query, weights=gains) / ideal_gain(np.bincount(query), k)


def ideal_gain(positives: npt.ArrayLike, k: int) -> Values:
    """DCG@k of so many positives in the first places, float64 of the same shape."""
    gains = np.cumsum(1.0 / np.log2(np.arange(k) + 2.0))
    best: Values = gains[np.minimum(np.asarray(positives), k) - 1]
    return best


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
