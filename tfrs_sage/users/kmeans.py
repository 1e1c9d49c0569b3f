"""k-means: a fixed number of clusters for every user, to compare with."""

import numpy as np
import numpy.typing as npt

from tfrs_sage.users.clustering import Labels, numbered

ITERATIONS = 100
STARTS = 4


def kmeans(
    vectors: npt.ArrayLike,
    num_clusters: int = 5,
    seed: int | np.random.Generator = 0,
) -> Labels:
    """Lloyd's algorithm from k-means++ centres, until no row moves or for 100 rounds.

    The best of four starts, by the sum of squared distances to the centres.

    Args:
        vectors: float `[m, d]`, finite.
        num_clusters: k; there are fewer clusters where there are fewer distinct rows.
        seed: of the first centres.

    Returns:
        Cluster of each row, int64 `[m]`, numbered 0..c-1 by first appearance.

    Raises:
        ValueError: not a finite matrix, or `num_clusters` is not positive.

    References:
        Arthur and Vassilvitskii, k-means++ (SODA 2007).
    """
    points = np.asarray(vectors, np.float64)
    if points.ndim != 2 or not np.isfinite(points).all():
        raise ValueError(
            f"`vectors` must be a finite matrix [m, d]. Received: shape {points.shape}, "
            f"{np.count_nonzero(~np.isfinite(points))} entries not finite."
        )
    if num_clusters < 1:
        raise ValueError(f"`num_clusters` must be positive. Received: {num_clusters}.")
    if not len(points):
        return np.zeros(0, np.int64)
    points = points - points.mean(axis=0)
    random = np.random.default_rng(seed)
    found = [_lloyd(points, _first_centres(points, num_clusters, random)) for _ in range(STARTS)]
    return numbered(min(found, key=lambda one: one[0])[1])


def _lloyd(
    points: npt.NDArray[np.float64], centres: npt.NDArray[np.float64]
) -> tuple[float, npt.NDArray[np.intp]]:
    """Cost (but for the rows' squared norms) and nearest centre of each row, from these centres."""
    nearest = _distances(points, centres).argmin(axis=1)
    for _ in range(ITERATIONS):
        members = np.arange(len(centres))[:, None] == nearest  # [k, m]
        counts = members.sum(axis=1, keepdims=True)
        # A centre that lost all its rows stays where it was.
        centres = np.where(counts > 0, members @ points / np.maximum(counts, 1), centres)
        moved = _distances(points, centres).argmin(axis=1)
        if (moved == nearest).all():
            break
        nearest = moved
    return float(_distances(points, centres).min(axis=1).sum()), nearest


def _first_centres(
    points: npt.NDArray[np.float64], num_clusters: int, random: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Distinct rows, each drawn in proportion to its squared distance to those before it."""
    chosen = [int(random.integers(len(points)))]
    distance = np.full(len(points), np.inf)
    while len(chosen) < num_clusters:
        offsets = points - points[chosen[-1]]
        distance = np.minimum(distance, np.einsum("ij,ij->i", offsets, offsets))
        total = distance.sum()
        if not total > 0:
            break
        chosen.append(int(random.choice(len(points), p=distance / total)))
    return points[chosen]


def _distances(
    points: npt.NDArray[np.float64], centres: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Squared distances `[m, k]` but for each row's squared norm."""
    return np.einsum("ij,ij->i", centres, centres) - 2.0 * points @ centres.T
