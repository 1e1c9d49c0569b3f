"""Graded judgments: NDCG of the order that scores give to the judged products of a query."""

from typing import Literal

import numpy as np
import numpy.typing as npt

Gain = Literal["linear", "exponential"]


def ndcg_at_k(
    relevance: npt.ArrayLike, scores: npt.ArrayLike, k: int = 10, gain: Gain = "exponential"
) -> float:
    """NDCG@k of one judged list.

    `DCG@k = sum over ranks r <= k of gain(relevance at r) / log2(r + 1)`, divided by the largest
    that any order of the same list reaches. Items of equal score share the mean gain of the ranks
    that they fill together, which is the expectation over their orders: a constant score gains
    nothing from the order of the table.

    Args:
        relevance: float `[j]`, 0 or more.
        scores: float `[j]`, higher is better.
        k: ranks looked at.
        gain: `exponential` is `2^relevance - 1` (Burges et al., ICML 2005), which tells grades
            apart that all lie above 0; `linear` is the relevance itself, as in trec_eval and
            scikit-learn.

    Returns:
        0 to 1; NaN where no item has a gain, because then every order is as good.

    Raises:
        ValueError: `k` or `gain` is unknown, shapes differ, or a number is not usable.

    References:
        Järvelin and Kekäläinen, TOIS 2002; ties: McSherry and Najork, ECIR 2008.
    """
    if k < 1:
        raise ValueError(f"`k` must be a positive int. Received: k={k}.")
    grade, score = np.asarray(relevance, np.float64), np.asarray(scores, np.float64)
    if grade.ndim != 1 or grade.shape != score.shape:
        raise ValueError(
            "`relevance` and `scores` must be vectors of one length. Received: shapes "
            f"{grade.shape} and {score.shape}."
        )
    if not (np.isfinite(grade).all() and (grade >= 0).all() and np.isfinite(score).all()):
        raise ValueError(
            "`relevance` must be finite and 0 or more, and `scores` finite. Received: relevance "
            f"from {grade.min()}, {np.count_nonzero(~np.isfinite(score))} scores not finite."
        )
    if gain not in ("linear", "exponential"):
        raise ValueError(f"`gain` must be 'linear' or 'exponential'. Received: {gain!r}.")
    gains = np.exp2(grade) - 1.0 if gain == "exponential" else grade
    discounts = 1.0 / np.log2(np.arange(len(gains)) + 2.0)
    discounts[k:] = 0.0
    ideal = np.sort(gains)[::-1] @ discounts
    if not ideal > 0:
        return float("nan")
    order = np.argsort(-score, kind="stable")
    tie = np.cumsum(np.append(False, np.diff(score[order]) != 0))
    mean_gain = np.bincount(tie, weights=gains[order]) / np.bincount(tie)
    return float(mean_gain[tie] @ discounts / ideal)


def evaluate_judgments(
    query: npt.ArrayLike,
    relevance: npt.ArrayLike,
    scores: npt.ArrayLike,
    k: int = 10,
    gain: Gain = "exponential",
) -> dict[str, float | int]:
    """Mean NDCG@k over queries, each over its own judged list.

    Args:
        query: int `[j]`, query of each judgment.
        relevance: float `[j]`, 0 or more.
        scores: float `[j]`, the model's score of each judged (query, product).
        k: ranks looked at.
        gain: as `ndcg_at_k`.

    Returns:
        `ndcg@k`, `num_queries` (those in the mean: where an item has a gain), `num_judgments`.

    Raises:
        ValueError: shapes differ, or no query has an item with a gain.
    """
    owner, grade, score = np.asarray(query), np.asarray(relevance), np.asarray(scores)
    if owner.ndim != 1 or not owner.shape == grade.shape == score.shape:
        raise ValueError(
            "`query`, `relevance` and `scores` must be vectors of one length. Received: shapes "
            f"{owner.shape}, {grade.shape} and {score.shape}."
        )
    order = np.argsort(owner, kind="stable")
    splits = np.flatnonzero(np.diff(owner[order])) + 1
    lists = np.split(order, splits)
    values = np.array([ndcg_at_k(grade[rows], score[rows], k, gain) for rows in lists])
    values = values[~np.isnan(values)]
    if not values.size:
        raise ValueError("NDCG needs a query with a relevant item. Received: none.")
    return {
        f"ndcg@{k}": float(values.mean()),
        "num_queries": int(values.size),
        "num_judgments": int(owner.size),
    }
