"""What lists of recommendations are like, beside being right: spread, popularity, variety."""

import numpy as np
import numpy.typing as npt

from tfrs_sage.evaluation.ranking import Rows, Vectors


def coverage(lists: npt.ArrayLike, num_items: int) -> float:
    """Share of the catalogue that is in any list.

    Args:
        lists: int `[q, k]`, item rows that each query was shown.
        num_items: size of the catalogue n.

    Returns:
        0 to 1.

    Raises:
        ValueError: no list, or a row outside of the catalogue.

    References:
        Catalogue coverage: Ge, Delgado-Battenfeld and Jannach, RecSys 2010, section 3.
    """
    return np.unique(_checked(lists, num_items)).size / num_items


def gini(lists: npt.ArrayLike, num_items: int) -> float:
    """How unevenly the catalogue's items are shown: 0 all alike, 1 one item alone.

    `G = sum over items j, by ascending number of times shown, of (2 j - n - 1) p_j / (n - 1)`,
    where p_j is the item's share of all places and j counts from 1. Items that are never shown
    count.

    Args:
        lists: int `[q, k]`, item rows.
        num_items: size of the catalogue n.

    Returns:
        0 to 1; 0 for a catalogue of one item.

    Raises:
        ValueError: no list, or a row outside of the catalogue.

    References:
        Gunawardana and Shani, Recommender Systems Handbook (2nd ed., 2015), section 8.3.10.
    """
    shown = np.sort(np.bincount(_checked(lists, num_items).ravel(), minlength=num_items))
    if num_items == 1:
        return 0.0
    places = 2.0 * np.arange(1, num_items + 1) - num_items - 1
    return float(places @ shown / shown.sum() / (num_items - 1))


def popularity_lift(
    lists: npt.ArrayLike,
    pair_query: npt.ArrayLike,
    pair_candidate: npt.ArrayLike,
    popularity: npt.ArrayLike,
) -> float:
    """How much more popular the items shown are than those that the queries asked for.

    The mean popularity of each query's list, averaged over the queries, relative to the same
    of its positives, less 1: 0 is no bias, 0.5 half as popular again. Differs from the paper,
    which compares with a user's past, in that the held-out positives are compared with.

    Args:
        lists: int `[q, k]`, item rows of query 0, 1, ...
        pair_query: int `[p]`, query of each positive.
        pair_candidate: int `[p]`, item row of each positive.
        popularity: float `[n]`, e.g. the number of training pairs of each item.

    Returns:
        -1 or more; NaN where no positive was ever met in training.

    Raises:
        ValueError: no list, or a row outside of the catalogue.

    References:
        Popularity lift: Abdollahpouri, Mansoury, Burke and Mobasher, The Unfairness of Popularity
        Bias in Recommendation, RMSE workshop at RecSys 2019, section 4.
    """
    count = np.asarray(popularity, np.float64)
    rows = _checked(lists, count.size)
    query = np.unique(np.asarray(pair_query), return_inverse=True)[1]
    asked = np.bincount(query, weights=count[_checked(pair_candidate, count.size)])
    asked_mean = (asked / np.bincount(query)).mean()
    return float(count[rows].mean() / asked_mean - 1.0) if asked_mean > 0 else float("nan")


def novelty(lists: npt.ArrayLike, popularity: npt.ArrayLike) -> float:
    """How unexpected the items shown are: mean of `-log2 p(item)`, in bits.

    p is the item's share of the training pairs. Differs from the paper: every item counts once
    more than it was met (Laplace), since new items have no share.

    Args:
        lists: int `[q, k]`, item rows.
        popularity: int `[n]`, number of training pairs of each item.

    Returns:
        0 or more; `log2 n` for items of mean popularity.

    Raises:
        ValueError: no list, or a row outside of the catalogue.

    References:
        Mean self-information: Zhou, Kuscsik, Liu, Medo, Wakeling and Zhang, PNAS 107 (2010);
        Vargas and Castells, RecSys 2011, section 4.
    """
    count = np.asarray(popularity, np.float64) + 1.0
    return float(-np.log2(count / count.sum())[_checked(lists, count.size)].mean())


def intra_list_diversity(lists: npt.ArrayLike, vectors: npt.ArrayLike) -> float:
    """Mean over lists of 1 - the mean cosine of the list's pairs of items.

    Args:
        lists: int `[q, k]`, item rows, k of 2 or more.
        vectors: float `[n, d]`, L2-normalised. Of another model than the one that made the lists,
            if lists of two models are compared.

    Returns:
        0 where each list holds copies of one item, about 1 for unlike ones; 2 at most.

    Raises:
        ValueError: no list, lists shorter than 2, or a row outside of the catalogue.

    References:
        Ziegler, McNee, Konstan and Lausen, WWW 2005, section 3.2 (intra-list similarity).
    """
    all_vectors = np.asarray(vectors)
    rows = _checked(lists, len(all_vectors))
    if rows.ndim != 2 or rows.shape[1] < 2:
        raise ValueError(f"lists must be [q, 2 or more] rows. Received: shape {rows.shape}.")
    k = rows.shape[1]
    # |sum of k unit vectors|^2 is k + the sum of the cosines of all ordered pairs.
    sums = np.array([all_vectors[row].astype(np.float64).sum(axis=0) for row in rows])
    cosines = (np.einsum("qd,qd->q", sums, sums) - k) / (k * (k - 1))
    return float(1.0 - cosines.mean())


def similar_shares(retrieved: Vectors, wanted: Vectors, similar: float) -> tuple[float, float]:
    """PinnerSage's relevance and recall of one list, from unit vectors `[r, d]` and `[f, d]`.

    Relevance is the share of what was retrieved with a cosine of at least `similar` to something
    wanted; recall the share of what was wanted with one to something retrieved. Both are 0 where
    nothing was retrieved.

    References:
        PinnerSage (Pal et al., KDD 2020), section 6, where `similar` is 0.8.
    """
    if not len(retrieved):
        return 0.0, 0.0
    near = retrieved @ wanted.T >= similar
    return float(near.any(axis=1).mean()), float(near.any(axis=0).mean())


def list_figures(
    lists: Rows,
    vectors: Vectors,
    pair_query: Rows,
    pair_candidate: Rows,
    popularity: npt.NDArray[np.int64],
    similar: float = 0.8,
) -> dict[str, float]:
    """All figures of this file for one task's lists.

    Args:
        lists: int `[q, k]`, item rows of query 0, 1, ..., each with a pair at least.
        vectors: float32 `[n, d]`, L2-normalised vectors of the catalogue.
        pair_query: int `[p]`, query of each positive.
        pair_candidate: int `[p]`, item row of each positive.
        popularity: int `[n]`, number of training pairs of each item.
        similar: least cosine that counts as relevant.

    Returns:
        `coverage@k`, `gini@k`, `popularity_lift@k`, `novelty@k`, `diversity@k`, `relevance@k`.
    """
    k, size = lists.shape[1], len(vectors)
    wanted = np.argsort(pair_query, kind="stable")
    bounds = np.searchsorted(pair_query[wanted], np.arange(len(lists) + 1))
    relevance = [
        similar_shares(vectors[row], vectors[pair_candidate[wanted[start:stop]]], similar)[0]
        for row, start, stop in zip(lists, bounds[:-1], bounds[1:], strict=True)
    ]
    figures = {
        "coverage": coverage(lists, size),
        "gini": gini(lists, size),
        "popularity_lift": popularity_lift(lists, pair_query, pair_candidate, popularity),
        "novelty": novelty(lists, popularity),
        "relevance": float(np.mean(relevance)),
    }
    if k > 1:
        figures["diversity"] = intra_list_diversity(lists, vectors)
    return {f"{name}@{k}": value for name, value in figures.items()}


def _checked(rows: npt.ArrayLike, num_items: int) -> Rows:
    given = np.asarray(rows, np.int64)
    if not given.size or given.min() < 0 or given.max() >= num_items:
        raise ValueError(
            f"lists must hold rows 0 to {num_items - 1}, at least one. Received: "
            + (f"{given.min()} to {given.max()}." if given.size else "none.")
        )
    return given
