"""What any model must beat: a random order, and the most popular candidates for everyone."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tfrs_sage.evaluation.pairs import pool_pairs
from tfrs_sage.evaluation.retrieval_metrics import KS, metrics_of_ranks


def random_baseline(
    pair_query: npt.ArrayLike, index_size: int, ks: Sequence[int] = KS
) -> dict[str, float | int]:
    """Expected figures of a uniformly random order, in closed form.

    Recall@k is `min(k, n) / n`. The best of a query's m positives has rank r with probability
    `C(n-r, m-1) / C(n, m)`, which gives the expected reciprocal rank.

    Args:
        pair_query: int `[p]`, query of each distinct pair.
        index_size: number of candidates n.
        ks: cut-offs of recall.

    Returns:
        The keys of `metrics_of_ranks`.

    Raises:
        ValueError: there is no pair, or a query has more positives than there are candidates.
    """
    positives = np.unique(np.asarray(pair_query), return_counts=True)[1]
    if not positives.size or positives.max() > index_size:
        raise ValueError(
            "a random order needs 1 to `index_size` positives for each query. Received: "
            f"{positives.max(initial=0)} for index_size={index_size}."
        )
    counts, queries = np.unique(positives, return_counts=True)
    expected = [_expected_reciprocal_rank(int(count), index_size) for count in counts]
    metrics: dict[str, float | int] = {f"recall@{k}": min(k, index_size) / index_size for k in ks}
    metrics["mrr"] = float(np.average(expected, weights=queries))
    metrics["num_pairs"] = int(positives.sum())
    metrics["num_queries"] = int(positives.size)
    metrics["index_size"] = int(index_size)
    return metrics


def _expected_reciprocal_rank(positives: int, index_size: int) -> float:
    """Mean of 1 / rank of the best of some positives in a random order."""
    ranks = np.arange(1, index_size - positives + 2)
    # P(first at r + 1) / P(first at r) = (n - r - m + 1) / (n - r).
    ratios = (index_size - ranks[:-1] - positives + 1) / (index_size - ranks[:-1])
    probability = np.cumprod(np.concatenate([[positives / index_size], ratios]))
    return float((probability / ranks).sum())


def popularity_baseline(
    train_candidate: npt.ArrayLike,
    pair_query: npt.ArrayLike,
    pair_candidate: npt.ArrayLike,
    index_size: int,
    ks: Sequence[int] = KS,
) -> dict[str, float | int]:
    """Figures of one list for every query: candidates by their number of training pairs.

    Args:
        train_candidate: int `[t]`, candidate row of each training pair of the same task.
        pair_query: int `[p]`, query of each evaluated pair.
        pair_candidate: int `[p]`, candidate row of each evaluated pair.
        index_size: number of candidates; those never seen come last. Ties are in row order.
        ks: cut-offs of recall.

    Returns:
        The keys of `metrics_of_ranks`.

    Raises:
        ValueError: there is no pair, or a row is out of range.
    """
    query, candidate = pool_pairs([(pair_query, pair_candidate)])
    train = np.asarray(train_candidate, dtype=np.int64)
    highest = max(train.max(initial=-1), candidate.max(initial=-1))
    if highest >= index_size:
        raise ValueError(
            f"candidate rows must be below index_size={index_size}. Received: {highest}."
        )
    order = np.argsort(-np.bincount(train, minlength=index_size), kind="stable")
    rank = np.empty(index_size, np.int64)
    rank[order] = np.arange(1, index_size + 1)
    return metrics_of_ranks(rank[candidate], query, index_size, ks)
