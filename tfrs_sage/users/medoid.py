"""What stands for a cluster of actions: one real item, and how much the cluster matters now."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

# Sums that differ by less than this share are the same number but for rounding.
TIE_SHARE = 1e-12
# Rows of several users that are looked at together: few enough to stay in a cache.
BLOCK_ROWS = 200
# What float32 may be wrong by, as a share of the largest squared norm; several times over.
ROUNDING_SHARE = 1e-5


def medoids(vectors: npt.ArrayLike, labels: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """The row of each cluster that is nearest to all others of its cluster.

    The medoid is the `m` in C with the least `sum_j |P_m - P_j|^2`. That sum is
    `|C| |P_m - centroid|^2` plus what is the same for every `m`, so the row nearest to the
    centroid is taken, in place of all pairs. Float32 products leave one row of most clusters;
    where several are too close to tell, float64 differences decide. The earliest row wins a tie
    (every cluster of two is one).

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
    points = np.asarray(vectors)
    if points.ndim != 2:
        raise ValueError(f"`vectors` must be a matrix [m, d]. Received: shape {points.shape}.")
    label, counts = _checked_labels(labels, len(points))
    with np.errstate(over="ignore", invalid="ignore"):
        low = points.astype(np.float32, copy=False)
        norms = np.einsum("ij,ij->i", low, low)
    if not np.isfinite(norms).all():
        _refuse_not_finite(points)
    order = np.argsort(label, kind="stable")
    starts = np.cumsum(counts) - counts
    # The stable sort kept row order within a cluster: this is right for one row and for two.
    result = order[starts]
    if counts.max(initial=0) < 3:
        return result
    owner = label[order]
    possible = _possible(low, norms, label, counts)[order]
    left = np.add.reduceat(possible, starts, dtype=np.int64)
    alone = np.flatnonzero(possible)
    alone = alone[left[owner[alone]] == 1]
    result[owner[alone]] = order[alone]
    for cluster in np.flatnonzero((left > 1) & (counts > 2)).tolist():
        rows = order[starts[cluster] : starts[cluster] + counts[cluster]]
        result[cluster] = rows[_nearest_to_centroid(points[rows].astype(np.float64))]
    return result


def medoids_many(
    groups: Sequence[npt.ArrayLike], labels: Sequence[npt.NDArray[np.int64]]
) -> list[npt.NDArray[np.int64]]:
    """`medoids` of each of many users: for short histories several times faster than one by one.

    Args:
        groups: float `[m, d]` for each user.
        labels: int `[m]` for each, as `ward_many` gives them.

    Returns:
        What `medoids` returns for each.
    """
    results: list[npt.NDArray[np.int64]] = []
    sizes = np.array([len(one) for one in labels], np.int64)
    # Groups together until they make a block.
    block = (np.cumsum(sizes) - 1) // BLOCK_ROWS
    for part in np.split(np.arange(len(sizes)), np.flatnonzero(np.diff(block)) + 1):
        if part.size == 0:
            continue
        num_clusters = np.array([labels[one].max(initial=-1) + 1 for one in part])
        first_label, first_row = np.cumsum(num_clusters), np.cumsum(sizes[part])
        offsets = np.repeat(first_label - num_clusters, sizes[part])
        rows = medoids(
            np.concatenate([groups[one] for one in part]),
            np.concatenate([labels[one] for one in part]) + offsets,
        )
        rows -= np.repeat(first_row - sizes[part], num_clusters)
        results += np.split(rows, first_label[:-1])
    return results


def _possible(
    low: npt.NDArray[np.float32],
    norms: npt.NDArray[np.float32],
    label: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
) -> npt.NDArray[np.bool_]:
    """Whether float32 leaves it open that a row is its cluster's medoid `[m]`."""
    with np.errstate(over="ignore", invalid="ignore"):
        members = (np.arange(len(counts))[:, None] == label).astype(np.float32)  # [c, m]
        centroids = members @ low / counts.astype(np.float32)[:, None]
        # Squared distance to the centroid, but for what is the same for all of a cluster.
        score = norms - 2.0 * (low @ centroids.T)[np.arange(len(low)), label]
        least = np.full(len(counts), np.inf, np.float32)
        np.minimum.at(least, label, score)
        # Written so that NaN, of numbers too large for float32, stays possible.
        open_: npt.NDArray[np.bool_] = ~(score > (least + ROUNDING_SHARE * norms.max())[label])
    return open_


def _nearest_to_centroid(group: npt.NDArray[np.float64]) -> int:
    """Earliest of the rows that are nearest to the mean of all; `group` is used up."""
    # About the first row, so that what is far from the origin loses no digits.
    group -= group[0].copy()
    group -= group.sum(axis=0) / len(group)
    distance = np.einsum("ij,ij->i", group, group)
    return int((distance <= distance.min() + TIE_SHARE * distance.max()).argmax())


def _refuse_not_finite(points: npt.NDArray[np.floating]) -> None:
    bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if bad.size:
        raise ValueError(f"`vectors` must be finite. Received: row {bad[0]} holds NaN or infinity.")


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
