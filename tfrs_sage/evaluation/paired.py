"""Whether one run is better than another: the same queries answered by both."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tfrs_sage.evaluation.intervals import bootstrap_interval, checked_values

# Sign flips drawn at a time: bounds the memory to `FLIP_BYTES`.
FLIP_BYTES = 64 * 2**20


class PairedTest(NamedTuple):
    """The difference of two runs in one figure.

    Attributes:
        a: the figure of the first run.
        b: that of the second.
        difference: b - a.
        low: of the 95% interval of the difference.
        high: likewise.
        p_value: how often a difference at least as large, either way, comes by chance.
        num_queries: queries that both answered.
        num_differing: those in which the runs differ at all.
    """

    a: float
    b: float
    difference: float
    low: float
    high: float
    p_value: float
    num_queries: int
    num_differing: int


def paired_test(
    values_a: npt.ArrayLike,
    values_b: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    num_samples: int = 10_000,
    seed: int = 0,
) -> PairedTest:
    """Compares two runs query by query.

    - the interval: percentile bootstrap of the difference, where a drawn query brings its values
      of both runs;
    - the p value: a randomisation test. If the runs are alike, each query could as well have been
      answered the other way round, so the signs of the per-query differences are flipped at
      random: `p = (1 + flips with |difference| >= the one seen) / (1 + flips)`, two-sided. It
      assumes nothing of how differences are distributed. With no difference at all p is 1.

    The test is of the queries alone: that another seed of the same training would differ as well
    is not in it.

    Args:
        values_a: float `[q]`, one figure for each query of the first run (`per_query`).
        values_b: float `[q]`, of the second, the same queries in the same order.
        weights: float `[q]`; `None` weighs all queries the same.
        num_samples: resamples and flips; the least p value is `1 / (num_samples + 1)`.
        seed: of both draws.

    Raises:
        ValueError: no query, shapes differ, a value is not finite, a weight is not positive, or
            `num_samples` is not positive.

    References:
        Smucker, Allan and Carterette, A Comparison of Statistical Significance Tests for
        Information Retrieval Evaluation, CIKM 2007; Efron and Tibshirani (1993), chapters 13, 15.
    """
    a, weight = checked_values(values_a, weights)
    b, _ = checked_values(values_b, weights)
    if a.shape != b.shape:
        raise ValueError(
            "`values_a` and `values_b` must be of the same queries. Received: "
            f"{a.size} and {b.size}."
        )
    if num_samples < 1:
        raise ValueError(f"`num_samples` must be positive. Received: {num_samples}.")
    products = (b - a) * weight
    total = weight.sum()
    difference = products.sum() / total
    low, high = bootstrap_interval(b - a, weight, num_samples, seed)
    differing = products[products != 0]
    return PairedTest(
        float(a @ weight / total),
        float(b @ weight / total),
        float(difference),
        low,
        high,
        _flipped_share(differing, num_samples, seed),
        int(a.size),
        int(differing.size),
    )


def _flipped_share(differences: npt.NDArray[np.float64], num_samples: int, seed: int) -> float:
    """Two-sided p value of the sum of `differences` under random signs."""
    # Sums of the same numbers in another order differ in the last digits: they are equal.
    seen = abs(differences.sum()) * (1 - 1e-9)
    random = np.random.default_rng((seed, 1))
    step = max(1, FLIP_BYTES // max(1, 8 * differences.size))
    reached = 0
    for start in range(0, num_samples, step):
        size = (min(step, num_samples - start), differences.size)
        signs = random.integers(2, size=size, dtype=np.int8) * 2.0 - 1.0
        reached += int(np.count_nonzero(np.abs(signs @ differences) >= seen))
    return (1 + reached) / (1 + num_samples)
