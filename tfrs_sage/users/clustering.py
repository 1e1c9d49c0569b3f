"""Clusters of a user's actions: as many as the user has interests."""

from collections.abc import Sequence
from typing import Literal

import fastcluster
import numpy as np
import numpy.typing as npt

from tfrs_sage.users.distances import squared_distances

Labels = npt.NDArray[np.int64]

# Heights are square roots: squaring them again must not carry one over a threshold it equals.
ROUNDING = 1e-12


class _HandedOver:
    """An array given away: `linkage` copies an array once even where told that it may use it up.

    NumPy leaves a copy to `__array__`, so that this one saves it, half of the memory.
    """

    def __init__(self, array: npt.NDArray[np.float64]) -> None:
        self._array = array

    def __array__(self, dtype: object = None, copy: bool | None = None) -> npt.NDArray[np.float64]:
        return self._array


def ward(vectors: npt.ArrayLike, threshold: float) -> Labels:
    """Clusters of the rows of `vectors` by Ward's method, cut at `threshold`.

    The distance of two clusters A and B is `2 |A||B| / (|A|+|B|)` times the squared distance of
    their centroids: `|x - y|^2` for two points, and the square of the height that
    `scipy.cluster.hierarchy.linkage(..., "ward")` reports. Merges whose distance exceeds
    `threshold` are not made. Equal vectors always share a cluster; where distances are exactly
    equal, any order of merges is a right answer.

    Distances come from one float32 matrix product (right to about 2e-5 of themselves); the
    nearest-neighbour chain with Lance-Williams updates is fastcluster's, in float64. Time O(m^2),
    memory 1.5 `m^2` float32 numbers (1.75 for short histories).

    Args:
        vectors: float `[m, d]`, finite.
        threshold: largest distance at which clusters merge, squared; 0 merges equal vectors only,
            infinity merges all.

    Returns:
        Cluster of each row, int64 `[m]`, numbered 0..c-1 by first appearance.

    Raises:
        ValueError: `vectors` is not a finite matrix, or `threshold` is negative or NaN.

    Example:
        >>> ward([[0.0], [9.0], [1.0], [10.0]], threshold=2.0)
        array([0, 1, 0, 1])

    References:
        PinnerSage (Pal et al., KDD 2020), section 4.1; Müllner, fastcluster (Journal of
        Statistical Software, 2013).
    """
    return ward_many([vectors], threshold)[0]


def ward_many(groups: Sequence[npt.ArrayLike], threshold: float) -> list[Labels]:
    """`ward` of each of many users: for short histories several times faster than one by one.

    Args:
        groups: float `[m, d]` for each user; `m` may differ.
        threshold: as for `ward`.

    Returns:
        What `ward` returns for each; distances are held for one user at a time.
    """
    return _hierarchical(groups, threshold, "ward")


def complete(vectors: npt.ArrayLike, threshold: float) -> Labels:
    """Like `ward`, the distance of two clusters being that of their two farthest members.

    Args:
        vectors: float `[m, d]`, finite.
        threshold: largest squared distance within a cluster.

    Returns:
        Cluster of each row, int64 `[m]`, numbered 0..c-1 by first appearance.
    """
    return _hierarchical([vectors], threshold, "complete")[0]


def _hierarchical(
    groups: Sequence[npt.ArrayLike], threshold: float, method: Literal["ward", "complete"]
) -> list[Labels]:
    """Distances and dendrogram of each group, then the cut of all at once."""
    if not threshold >= 0:
        raise ValueError(
            f"`threshold` must be a squared distance, 0 or more. Received: {threshold}."
        )
    sizes, limits, merges = [], [], [np.empty((0, 4))]
    for vectors in groups:
        rows = np.asarray(vectors)
        distances, scale = squared_distances(rows)
        sizes.append(len(rows))
        limits.append(threshold / scale / scale * (1 + ROUNDING))
        if len(rows) > 1:
            np.sqrt(distances, out=distances)
            handed = _HandedOver(distances)
            del distances
            merges.append(fastcluster.linkage(handed, method, preserve_input=False))
    return _cut(np.concatenate(merges), np.array(sizes, np.intp), np.array(limits))


def _cut(
    merges: npt.NDArray[np.float64], sizes: npt.NDArray[np.intp], limits: npt.NDArray[np.float64]
) -> list[Labels]:
    """Clusters of each group after the merges within its limit.

    Args:
        merges: dendrograms `[sum (m - 1), 4]` as `linkage` returns them, one after the other.
        sizes: rows of each group `[g]`.
        limits: largest squared height `[g]`.
    """
    num_merges = np.maximum(sizes - 1, 0)
    first_row, first_merge = np.cumsum(sizes) - sizes, np.cumsum(num_merges) - num_merges
    group = np.repeat(np.arange(len(sizes)), num_merges)
    made = np.flatnonzero(merges[:, 2] ** 2 <= limits[group])
    group = group[made, None]
    num_rows = int(sizes.sum())
    # Nodes of all groups together: first the rows, then the unions.
    node = merges[made, :2].astype(np.intp)
    beyond = node - sizes[group]
    node = np.where(beyond < 0, node + first_row[group], beyond + num_rows + first_merge[group])
    parent = np.arange(num_rows + len(merges))
    parent[node] = num_rows + made[:, None]
    while True:
        above = parent[parent]
        if (above == parent).all():
            break
        parent = above
    labels = numbered(parent[:num_rows])
    ends = np.cumsum(sizes).tolist()
    parts = [labels[end - size : end] for size, end in zip(sizes.tolist(), ends, strict=True)]
    # No cluster spans two groups, so that a group's labels follow on from that of its first row.
    return [part - part[0] if part.size else part for part in parts]


def numbered(names: npt.NDArray[np.integer]) -> Labels:
    """Labels 0..c-1 by first appearance, of rows `[m]` named by integers of 0 or more."""
    rows = np.arange(len(names))
    first = np.empty(int(names.max(initial=-1)) + 1, np.int64)
    # Of several rows with one name the last one written stays: the earliest.
    first[names[::-1]] = rows[::-1]
    first = first[names]
    return (np.cumsum(first == rows) - 1)[first]
