"""Choosing alpha: what each threshold would have found on histories whose end is known."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from tfrs_sage.errors import InputError
from tfrs_sage.users.alternatives import UserMethod, sampled
from tfrs_sage.users.config import ClusterConfig
from tfrs_sage.users.protocol import UserSplit, evaluate_methods, summary
from tfrs_sage.users.retrieval import Catalogue


@dataclass(frozen=True)
class ThresholdScores:
    """What one threshold gives.

    Attributes:
        threshold: alpha, squared distance.
        relevance: mean over users, and the ends of its 95% bootstrap interval.
        recall: likewise.
        clusters: mean number of clusters of a user, and its interval.
        clusters_quantiles: of the number of clusters: 10%, 50%, 90%.
        num_users: users that were measured.
    """

    threshold: float
    relevance: tuple[float, float, float]
    recall: tuple[float, float, float]
    clusters: tuple[float, float, float]
    clusters_quantiles: tuple[float, float, float]
    num_users: int


def sweep_thresholds(
    users: Iterable[UserSplit],
    catalogue: Catalogue,
    thresholds: Sequence[float],
    config: ClusterConfig,
    seed: int = 0,
) -> list[ThresholdScores]:
    """Relevance, recall and clusters per user of `config` at each threshold.

    Args:
        users: validation histories, split where the validation days begin; read once.
        catalogue: what is retrieved from.
        thresholds: to try, in the order of the result.
        config: all else: the method (`ward` or `complete`), decay, medoids drawn, items retrieved.
        seed: of the draws, the same for every threshold.

    Raises:
        InputError: no user, no threshold, or a negative one, or a method without a threshold.

    Example:
        `max(sweep_thresholds(...), key=lambda one: one.recall[0]).threshold`
    """
    if config.method == "kmeans":
        raise InputError(
            "A threshold is swept for ward or complete linkage. Received: method 'kmeans'. "
            "Set users.method."
        )
    if not thresholds or not all(threshold >= 0 for threshold in thresholds):
        raise InputError(
            f"Thresholds are squared distances, 0 or more. Received: {list(thresholds)}. "
            "For unit vectors, values from 0.2 to 4 span most of what there is."
        )
    methods: dict[str, UserMethod] = {
        repr(threshold): partial(sampled, config=config.model_copy(update={"threshold": threshold}))
        for threshold in thresholds
    }
    scores = evaluate_methods(
        users, catalogue, methods, config.num_candidates, num_random=0, seed=seed
    )
    if not scores[repr(thresholds[0])]["recall"].size:
        raise InputError(
            "A sweep needs users with actions before and after the split. Received: none. "
            "Move the split, or take a longer window."
        )
    found = []
    for threshold in thresholds:
        one = scores[repr(threshold)]
        means = summary({name: one[name] for name in ("relevance", "recall", "num_clusters")})
        low, middle, high = np.quantile(one["num_clusters"], [0.1, 0.5, 0.9]).tolist()
        found.append(
            ThresholdScores(
                threshold,
                means["relevance"],
                means["recall"],
                means["num_clusters"],
                (low, middle, high),
                len(one["recall"]),
            )
        )
    return found
