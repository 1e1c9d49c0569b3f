"""Which few medoids of a user ask for candidates this time."""

import numpy as np
import numpy.typing as npt


def sample_medoids(
    importances: npt.ArrayLike,
    num_samples: int = 3,
    seed: int | np.random.Generator | None = None,
) -> npt.NDArray[np.int64]:
    """Draws clusters without replacement, each draw in proportion to importance.

    The first draw takes cluster `i` with probability `w_i / sum w`; each further one does so among
    those that are left. Drawn at once: an exponential waiting time of rate `w_i` for each, and the
    earliest win (Efraimidis and Spirakis, 2006).

    Args:
        importances: float `[c]`, 0 or more, finite, as `importance` gives them.
        num_samples: most clusters to draw; the paper retrieves with 3.
        seed: of the draw; `None` draws differently each time. A generator is drawn from.

    Returns:
        Clusters in the order drawn, int64 `[min(num_samples, clusters of importance > 0)]`.

    Raises:
        ValueError: a negative or non-finite importance, or a negative `num_samples`.

    Example:
        >>> sample_medoids([0.0, 2.0], num_samples=3, seed=0)
        array([1])

    References:
        PinnerSage (Pal et al., KDD 2020), section 4.3.
    """
    weights = np.asarray(importances, dtype=np.float64)
    if weights.ndim != 1:
        raise ValueError(f"`importances` must be a vector [c]. Received: shape {weights.shape}.")
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if bad.size:
        raise ValueError(
            "`importances` must be finite and 0 or more. Received: "
            f"{weights[bad[0]]} for cluster {bad[0]}."
        )
    if num_samples < 0:
        raise ValueError(f"`num_samples` must be 0 or more. Received: {num_samples}.")
    possible = np.flatnonzero(weights > 0)
    waits = np.random.default_rng(seed).exponential(size=possible.size)
    # In logarithms: dividing by a tiny importance would overflow, and all such clusters would tie.
    order = np.argsort(np.log(waits) - np.log(weights[possible]), kind="stable")
    return possible[order[:num_samples]].astype(np.int64)
