"""What stands for a cluster of actions: one real item, and how much the cluster matters now."""

import numpy as np
import numpy.typing as npt

# Sums that differ by less than this share are the same number but for rounding.
TIE_SHARE = 1e-12


def medoids(vectors: npt.ArrayLike, labels: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """The row of each cluster that is nearest to all others of its cluster.

    The medoid is the `m` in C with the least `sum_j |P_m - P_j|^2`. That sum is
    `|C| |P_m - centroid|^2` plus what is the same for every `m`, so the row nearest to the
    centroid is taken: time `[m, d]` in place of all pairs. The earliest row wins a tie (every
    cluster of two is one).

    Args:
        vectors: float `[m, d]`, finite.
        labels: int `[m]`, every one of 0..c-1 at least once, as `ward` gives them.

    Returns:
        Row of the medoid of each cluster, int64 `[c]`.

    Raises:
        ValueError: shapes differ, an entry is not finite, or a label has no row.

    Example:
        >>> medoids([[0.0], [1.0], [5.0], [9.0]], [0, 0, 0, 1])
        array([1, 3])

    References:
        PinnerSage (Pal et al., KDD 2020), section 4.2.
    """
    points = np.asarray(vectors, dtype=np.float64)
    if points.ndim != 2:
        raise ValueError(f"`vectors` must be a matrix [m, d]. Received: shape {points.shape}.")
    label, counts = _checked_labels(labels, len(points))
    bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if bad.size:
        raise ValueError(f"`vectors` must be finite. Received: row {bad[0]} holds NaN or infinity.")
    if not len(points):
        return np.zeros(0, np.int64)
    order = np.argsort(label, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    grouped, owner = points[order], label[order]
    # About the first row of each cluster, so that what is far from the origin loses no digits.
    grouped -= grouped[starts][owner]
    centroids = np.add.reduceat(grouped, starts, axis=0) / counts[:, None]  # [c, d]
    offsets = grouped - centroids[owner]
    distance = np.einsum("ij,ij->i", offsets, offsets)
    nearest = np.minimum.reduceat(distance, starts)
    tolerance = TIE_SHARE * np.maximum.reduceat(distance, starts)
    tied = distance <= (nearest + tolerance)[owner]
    # The stable sort kept row order within a cluster: its first tied row is the earliest.
    rows, where = np.unique(owner[tied], return_index=True)
    result = np.empty(len(counts), np.int64)
    result[rows] = order[tied][where]
    return result


def importance(
    labels: npt.ArrayLike, age_days: npt.ArrayLike, decay: float = 0.01
) -> npt.NDArray[np.float64]:
    """How much each cluster matters: `sum_i exp(-decay * age_i)` over its actions.

    Args:
        labels: int `[m]`, every one of 0..c-1 at least once.
        age_days: float `[m]`, days from each action to now, 0 or more.
        decay: lambda of the paper, per day; 0 counts actions, large values see recent ones only.

    Returns:
        float64 `[c]`.

    Raises:
        ValueError: lengths differ, an age is negative or not finite, or `decay` is negative.

    Example:
        >>> importance([0, 1, 0], [0.0, 0.0, 0.0])
        array([2., 1.])

    References:
        PinnerSage (Pal et al., KDD 2020), section 4.3; lambda = 0.01 there.
    """
    ages = np.asarray(age_days, dtype=np.float64)
    if ages.ndim != 1:
        raise ValueError(f"`age_days` must be a vector [m]. Received: shape {ages.shape}.")
    label, counts = _checked_labels(labels, len(ages))
    if not decay >= 0:
        raise ValueError(f"`decay` must be 0 or more per day. Received: {decay}.")
    bad = np.flatnonzero(~(np.isfinite(ages) & (ages >= 0)))
    if bad.size:
        raise ValueError(
            "`age_days` must be finite and 0 or more. Received: "
            f"{ages[bad[0]]} in row {bad[0]}. Leave out actions that are later than now."
        )
    decayed = np.bincount(label, weights=np.exp(-decay * ages), minlength=len(counts))
    return decayed.astype(np.float64, copy=False)


def _checked_labels(
    labels: npt.ArrayLike, rows: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Labels as int64 and the number of rows of each label."""
    given = np.asarray(labels)
    if given.shape != (rows,) or (rows and not np.issubdtype(given.dtype, np.integer)):
        raise ValueError(
            f"`labels` must be integers, one for each of the {rows} rows. Received: "
            f"shape {given.shape}, {given.dtype}."
        )
    label = given.astype(np.int64)
    if rows and label.min() < 0:
        raise ValueError(f"`labels` must be 0 or more. Received: {label.min()}.")
    counts = np.bincount(label)
    if not counts.all():
        raise ValueError(
            "`labels` must use every number from 0 to the largest, as `ward` numbers them. "
            f"Received: no row of label {np.flatnonzero(counts == 0)[0]}."
        )
    return label, counts
