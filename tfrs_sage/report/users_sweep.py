"""Choosing alpha: thresholds where the data's own merges lie, and the best of them."""

from collections.abc import Iterable, Sequence

import fastcluster
import numpy as np
import numpy.typing as npt

from tfrs_sage.errors import InputError
from tfrs_sage.users.config import ClusterConfig
from tfrs_sage.users.distances import squared_distances
from tfrs_sage.users.protocol import UserSplit
from tfrs_sage.users.sweep import ThresholdScores

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)  # of the merges made
HEIGHTS_OF_A_USER = 64
DIGITS = 3
RULE = "the largest harmonic mean of relevance and recall; of equal ones the fewest clusters"


def threshold_grid(users: Iterable[UserSplit], config: ClusterConfig) -> list[float]:
    """Thresholds to try: quantiles of the heights at which the users' clusters merge.

    At the quantile q a share q of all merges is made, so the grid runs from every different item
    by itself to one cluster for each user, in steps of the same number of merges. Users weigh the
    same, however long their histories are: `HEIGHTS_OF_A_USER` quantiles of each are pooled.

    Args:
        users: of the validation split; read once.
        config: the method, ward or complete; its own threshold joins the grid.

    Returns:
        Ascending, rounded to three digits, but for the last, which is rounded up; the first is 0.

    Raises:
        InputError: k-means has no heights; or no user has two actions.
    """
    if config.method == "kmeans":
        raise InputError(
            "A threshold is swept for ward or complete linkage. Received: method 'kmeans'. "
            "Set users.method."
        )
    at = (np.arange(HEIGHTS_OF_A_USER) + 0.5) / HEIGHTS_OF_A_USER
    pooled: list[npt.NDArray[np.float64]] = []
    highest = 0.0
    for user in users:
        heights = merge_heights(user.past.vectors, config.method)
        if len(heights):
            pooled.append(np.quantile(heights, at))
            highest = max(highest, heights.max())
    if not pooled:
        raise InputError(
            "A sweep needs users with two actions before the split. Found: none. Take more of "
            "--past, or a longer users.window_days."
        )
    inner = np.quantile(np.concatenate(pooled), SHARES[1:-1])
    # Rounding up the last, so that it merges all of every user.
    last = float(f"{highest * (1 + 10.0**-DIGITS):.{DIGITS}g}") if highest > 0 else 0.0
    found = {float(f"{one:.{DIGITS}g}") for one in inner.tolist()}
    return sorted({0.0, *found, max(last, highest), config.threshold})


def merge_heights(vectors: npt.ArrayLike, method: str) -> npt.NDArray[np.float64]:
    """The squared distance of every merge down to one cluster, float64 `[m - 1]`, ascending."""
    rows = np.asarray(vectors)
    if len(rows) < 2:
        return np.zeros(0)
    distances, scale = squared_distances(rows)
    merges = fastcluster.linkage(np.sqrt(distances), method, preserve_input=False)
    heights: npt.NDArray[np.float64] = (merges[:, 2] * scale) ** 2
    return np.sort(heights)


def harmonic_mean(one: ThresholdScores) -> float:
    """Of relevance and recall; 0 where both are."""
    both = one.relevance[0] + one.recall[0]
    return 2 * one.relevance[0] * one.recall[0] / both if both else 0.0


def chosen(scores: Sequence[ThresholdScores]) -> ThresholdScores:
    """The threshold that `RULE` takes.

    Either metric alone would be gamed: one medoid of a crowded interest is relevant and finds
    nothing else. Fewer clusters are fewer medoids to store, and each brings more from the cache.
    """
    return max(scores, key=lambda one: (harmonic_mean(one), -one.clusters[0], one.threshold))
