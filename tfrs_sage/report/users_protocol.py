"""The table of methods: what each finds of what users did next, and its lift over the last item."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tfrs_sage.errors import InputError
from tfrs_sage.users.alternatives import methods
from tfrs_sage.users.config import ClusterConfig
from tfrs_sage.users.protocol import METRICS, SIMILAR, UserSplit, evaluate_methods
from tfrs_sage.users.retrieval import Catalogue

BASELINE = "last_item"
# What must hold (papers.md, section 2): each left one above its right one.
ORDER = (
    ("pinnersage", "decayed_average"),
    ("decayed_average", "last_item"),
    ("pinnersage", "last_item"),
)
RESAMPLES = 1000
RESAMPLES_AT_ONCE = 100
SAMPLED_PAIRS = 1000  # items on each side of the pairs that `similar_share` looks at
Scores = Mapping[str, Mapping[str, npt.NDArray[np.float64]]]
Floats = npt.NDArray[np.float64]


def evaluate_users(
    users: Iterable[UserSplit], catalogue: Catalogue, config: ClusterConfig, seed: int = 0
) -> dict[str, Any]:
    """Every method of `alternatives.methods` by the offline protocol, with 95% intervals.

    Args:
        users: each with past and future; read once.
        catalogue: what is retrieved from.
        config: threshold, decay, medoids drawn, items retrieved, k of k-means.
        seed: of the draws and of the resamples.

    Returns:
        `methods`: by name, each metric's `mean`, `low`, `high` and `lift` over the last item with
        an interval of its own, and the mean of `num_clusters`; `order`: by metric, what each
        method that should be above another is above it, with interval; `catalogue`.

    Raises:
        InputError: there is no user.
    """
    scores = evaluate_methods(users, catalogue, methods(config), config.num_candidates, seed=seed)
    if not scores[BASELINE]["recall"].size:
        raise InputError(
            "The evaluation needs users with actions before and in the split. Found: none. Take "
            "another --split, more of --past, a longer users.window_days, or action weights "
            "above 0 for the actions that the split has."
        )
    return {
        "num_users": len(scores[BASELINE]["recall"]),
        "catalogue": {
            "num_items": len(catalogue.vectors),
            "similar_share": similar_share(catalogue, seed),
        },
        **compare(scores, seed),
    }


def compare(scores: Scores, seed: int = 0, num_samples: int = RESAMPLES) -> dict[str, Any]:
    """Means, lifts and differences, each with a percentile bootstrap interval over users.

    A resample draws users, with all their figures under all methods: so lifts and differences are
    those of the same users, and their intervals far narrower than those of two means apart.

    Args:
        scores: as `evaluate_methods` returns them, with `last_item` among the methods.
        seed: of the resamples.
        num_samples: number of resamples.

    Returns:
        `methods` and `order`, see `evaluate_users`. The lift is a share (0.33: a third more), and
        None where the last item finds nothing, in all or in a resample.
    """
    columns = {(name, metric): scores[name][metric] for name in scores for metric in METRICS}
    values = np.stack(list(columns.values()), axis=1)  # [u, methods * metrics]
    place = {key: number for number, key in enumerate(columns)}
    means, drawn = values.mean(axis=0), resampled_means(values, num_samples, seed)

    def one(name: str, metric: str) -> dict[str, Any]:
        mine, base = place[name, metric], place[BASELINE, metric]
        found = _with_interval(means[mine], drawn[:, mine])
        if not means[base] > 0 or not (drawn[:, base] > 0).all():
            return {**found, "lift": None}
        lift = _with_interval(means[mine] / means[base] - 1, drawn[:, mine] / drawn[:, base] - 1)
        return {**found, "lift": lift}

    def difference(left: str, right: str, metric: str) -> dict[str, float]:
        mine, other = place[left, metric], place[right, metric]
        return _with_interval(means[mine] - means[other], drawn[:, mine] - drawn[:, other])

    return {
        "methods": {
            name: {
                **{metric: one(name, metric) for metric in METRICS},
                "num_clusters": float(scores[name]["num_clusters"].mean()),
            }
            for name in scores
        },
        "order": {
            metric: {
                f"{left} - {right}": difference(left, right, metric)
                for left, right in ORDER
                if left in scores and right in scores
            }
            for metric in METRICS
        },
    }


def resampled_means(values: Floats, num_samples: int, seed: int) -> Floats:
    """Mean of each column over users drawn with replacement: `[num_samples, c]` of `[u, c]`.

    The draws are those of `evaluation.intervals.bootstrap_interval`.
    """
    random = np.random.default_rng(seed)
    means = np.empty((num_samples, values.shape[1]))
    for start in range(0, num_samples, RESAMPLES_AT_ONCE):
        stop = min(start + RESAMPLES_AT_ONCE, num_samples)
        counts = [
            np.bincount(random.integers(len(values), size=len(values)), minlength=len(values))
            for _ in range(start, stop)
        ]
        means[start:stop] = np.array(counts) @ values / len(values)
    return means


def similar_share(catalogue: Catalogue, seed: int = 0) -> float:
    """Share of the pairs of different items with cosine of at least `SIMILAR`.

    What a method finds by chance: where it is high, relevance and recall tell little. Of a large
    catalogue some items are drawn.
    """
    number = len(catalogue.vectors)
    if number < 2:
        return 0.0
    rows = np.random.default_rng(seed).permutation(number)[:SAMPLED_PAIRS]
    near = catalogue.vectors[rows] @ catalogue.vectors[rows].T >= SIMILAR
    np.fill_diagonal(near, False)
    return float(near.sum() / (len(rows) * (len(rows) - 1)))


def _with_interval(value: float, resampled: Floats) -> dict[str, float]:
    low, high = np.quantile(resampled, [0.025, 0.975])
    return {"mean": float(value), "low": float(low), "high": float(high)}
