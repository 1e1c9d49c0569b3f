"""How far a figure could be from itself on other queries of the same kind."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
# A figure as a weighted mean over queries: values and weights, each float64 `[q]`.
PerQuery = tuple[npt.ArrayLike, npt.ArrayLike | None]


def bootstrap_interval(
    values: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    num_samples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """`bootstrap_intervals` of one figure.

    Args:
        values: float `[q]`, one figure for each query (`recall_per_query`).
        weights: float `[q]`, e.g. the query's number of positives; `None` weighs all the same.
        num_samples: number of resamples.
        seed: of the draws.
        confidence: share of the resampled means within the interval.

    Returns:
        Low and high end.

    Raises:
        ValueError: as `bootstrap_intervals`.
    """
    return bootstrap_intervals({"": (values, weights)}, num_samples, seed, confidence)[""]


def bootstrap_intervals(
    figures: Mapping[str, PerQuery],
    num_samples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap intervals of weighted means over the same queries.

    Queries are drawn with replacement, not pairs: pairs of one query stand or fall together, and
    drawing them one by one would make the interval too narrow. All figures share the draws.

    Args:
        figures: by name, values and weights of each query, each float `[q]`; weights `None` weigh
            all the same.
        num_samples: number of resamples.
        seed: of the draws.
        confidence: share of the resampled means within the interval.

    Returns:
        Low and high end by name.

    Raises:
        ValueError: no query, shapes differ, a value is not finite, a weight is not positive, or
            `num_samples` or `confidence` is out of range.

    References:
        Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    checked = {name: checked_values(*one) for name, one in figures.items()}
    sizes = {len(value) for value, _ in checked.values()}
    if len(sizes) != 1:
        raise ValueError(
            f"all figures must be of the same queries. Received: {sorted(sizes)} queries."
        )
    if num_samples < 1 or not 0 < confidence < 1:
        raise ValueError(
            "`num_samples` must be positive and `confidence` between 0 and 1. Received: "
            f"{num_samples} and {confidence}."
        )
    weights = np.array([weight for _, weight in checked.values()])  # [m, q]
    products = np.array([value * weight for value, weight in checked.values()])
    means = np.empty((num_samples, len(checked)))
    size, random = sizes.pop(), np.random.default_rng(seed)
    for sample in range(num_samples):
        # How often each query is drawn.
        counts = np.bincount(random.integers(size, size=size), minlength=size).astype(np.float64)
        means[sample] = (products @ counts) / (weights @ counts)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return {name: (float(low[i]), float(high[i])) for i, name in enumerate(checked)}


def checked_values(
    values: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> tuple[Values, Values]:
    """Values and weights as float64 `[q]`.

    Raises:
        ValueError: no query, shapes differ, a value is not finite or a weight is not positive.
    """
    value = np.asarray(values, dtype=np.float64)
    weight = np.ones_like(value) if weights is None else np.asarray(weights, dtype=np.float64)
    if value.ndim != 1 or value.shape != weight.shape or not value.size:
        raise ValueError(
            "`values` and `weights` must be vectors of one length, at least 1. Received: shapes "
            f"{value.shape} and {weight.shape}."
        )
    if not (np.isfinite(value).all() and np.isfinite(weight).all() and (weight > 0).all()):
        raise ValueError(
            "`values` must be finite and `weights` finite and positive. Received: least weight "
            f"{weight.min()}, {np.count_nonzero(~np.isfinite(value))} values not finite."
        )
    return value, weight
