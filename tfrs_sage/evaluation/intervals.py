"""How far a figure could be from itself on other queries of the same kind."""

import numpy as np
import numpy.typing as npt


def bootstrap_interval(
    values: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    num_samples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a weighted mean over queries.

    Queries are drawn with replacement, not pairs: pairs of one query stand or fall together, and
    drawing them one by one would make the interval too narrow.

    Args:
        values: float `[q]`, one figure for each query (`recall_per_query`).
        weights: float `[q]`, e.g. the query's number of positives; `None` weighs all the same.
        num_samples: number of resamples.
        seed: of the draws.
        confidence: share of the resampled means within the interval.

    Returns:
        Low and high end.

    Raises:
        ValueError: no query, shapes differ, a value is not finite, a weight is not positive, or
            `num_samples` or `confidence` is out of range.

    References:
        Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
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
    if num_samples < 1 or not 0 < confidence < 1:
        raise ValueError(
            "`num_samples` must be positive and `confidence` between 0 and 1. Received: "
            f"{num_samples} and {confidence}."
        )
    random = np.random.default_rng(seed)
    products = value * weight
    means = np.empty(num_samples)
    for sample in range(num_samples):
        drawn = random.integers(value.size, size=value.size)
        means[sample] = products[drawn].sum() / weight[drawn].sum()
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
