"""What any model must beat: a random order, and the most popular candidates for everyone."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tfrs_sage.evaluation.pairs import Rows, pool_pairs
from tfrs_sage.evaluation.per_query import ideal_gain
from tfrs_sage.evaluation.retrieval_metrics import KS, metrics_of_ranks


def random_baseline(
    pair_query: npt.ArrayLike, index_size: int, ks: Sequence[int] = KS
) -> dict[str, float | int]:
    """Expected figures of a uniformly random order, in closed form.

    Recall@k is `min(k, n) / n`. Of a query with m positives each place holds one with probability
    m / n, which gives NDCG; none is among the first k with probability `C(n-m, k) / C(n, k)`,
    which gives the hit rate; the best has rank r with probability `C(n-r, m-1) / C(n, m)`, which
    gives the expected reciprocal rank.

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
    metrics: dict[str, float | int] = {}
    for k in ks:
        first = np.arange(min(k, index_size))
        metrics[f"recall@{k}"] = first.size / index_size
        missed = [np.prod((index_size - m - first).clip(0) / (index_size - first)) for m in counts]
        metrics[f"hit_rate@{k}"] = float(np.average(1.0 - np.array(missed), weights=queries))
        gain = counts / index_size * (1.0 / np.log2(first + 2.0)).sum()
        metrics[f"ndcg@{k}"] = float(np.average(gain / ideal_gain(counts, k), weights=queries))
    expected = [_expected_reciprocal_rank(int(count), index_size) for count in counts]
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
    ranks = popularity_ranks(train_candidate, candidate, index_size)
    return metrics_of_ranks(ranks, query, index_size, ks)


def popularity_ranks(
    train_candidate: npt.ArrayLike, pair_candidate: npt.ArrayLike, index_size: int
) -> Rows:
    """Rank of each pair's candidate in the list of `popularity_baseline`, int64 `[p]`."""
    candidate = np.asarray(pair_candidate, dtype=np.int64)
    train = np.asarray(train_candidate, dtype=np.int64)
    highest = max(train.max(initial=-1), candidate.max(initial=-1))
    if highest >= index_size:
        raise ValueError(
            f"candidate rows must be below index_size={index_size}. Received: {highest}."
        )
    order = np.argsort(-np.bincount(train, minlength=index_size), kind="stable")
    rank = np.empty(index_size, np.int64)
    rank[order] = np.arange(1, index_size + 1)
    return rank[candidate]
