"""Choosing alpha: thresholds where the data's own merges lie, and the best of them."""

import math
from collections.abc import Iterable, Sequence

import fastcluster
import numpy as np
import numpy.typing as npt

from tfrs_sage.errors import InputError
from tfrs_sage.users.config import ClusterConfig
from tfrs_sage.users.distances import squared_distances
from tfrs_sage.users.protocol import UserSplit
from tfrs_sage.users.sweep import ThresholdScores

# Of the merges, what is left undone: each threshold leaves users 0.7 times the clusters of the one
# before, down to 2% of the actions. Above, each is twice the one before.
LEFT = tuple(2.0 ** (-step / 2) for step in range(1, 12))
HEIGHTS_OF_A_USER = 64
RULE = "the largest geometric mean of relevance and recall; of equal ones the fewest clusters"


def threshold_grid(users: Iterable[UserSplit], config: ClusterConfig) -> list[float]:
    """Thresholds to try: quantiles of the heights at which the users' clusters merge.

    At the quantile q a share q of all merges is made. The grid runs from every different item by
    itself to one cluster for each user, in steps of the same ratio (`LEFT`), as the last merges
    are the ones that matter. Users weigh the same, however long their histories are:
    `HEIGHTS_OF_A_USER` quantiles of each are pooled.

    Args:
        users: of the validation split; read once.
        config: the method, ward or complete; its own threshold joins the grid.

    Returns:
        Ascending, from 0 to the highest merge of all; rounded to three digits in between.

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
    found = np.quantile(np.concatenate(pooled), 1.0 - np.array(LEFT)).tolist()
    while 0 < 2 * found[-1] < highest:
        found.append(2 * found[-1])
    rounded = {float(f"{one:.3g}") for one in found}
    return sorted({0.0, config.threshold, highest, *(one for one in rounded if one < highest)})


def merge_heights(vectors: npt.ArrayLike, method: str) -> npt.NDArray[np.float64]:
    """The squared distance of every merge down to one cluster, float64 `[m - 1]`, ascending."""
    rows = np.asarray(vectors)
    if len(rows) < 2:
        return np.zeros(0)
    distances, scale = squared_distances(rows)
    merges = fastcluster.linkage(np.sqrt(distances), method, preserve_input=False)
    heights: npt.NDArray[np.float64] = (merges[:, 2] * scale) ** 2
    return np.sort(heights)


def geometric_mean(one: ThresholdScores) -> float:
    """Of relevance and recall: twice as much of the one is worth half of the other."""
    return math.sqrt(one.relevance[0] * one.recall[0])


def chosen(scores: Sequence[ThresholdScores]) -> ThresholdScores:
    """The threshold that `RULE` takes.

    Either metric alone would be gamed: one medoid of a crowded interest is relevant and finds
    nothing else. Fewer clusters are fewer medoids to store, and each brings more from the cache.
    """
    return max(scores, key=lambda one: (geometric_mean(one), -one.clusters[0], one.threshold))
