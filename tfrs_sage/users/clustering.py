"""Ward clustering of a user's actions: as many clusters as the user has interests."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tfrs_sage.users.distances import BLOCK_ELEMENTS, centred, repair, squared_distances

# A round passes over the whole matrix, the chain only over a few rows for each merge: rounds are
# worth it while they merge more than one pair of this many clusters.
ROUND_SHARE = 32

Matrix = npt.NDArray[np.float32]
Rows = npt.NDArray[np.intp]


@dataclass
class _Clusters:
    """Clusters that may still merge. The only holder of its matrix, which is freed when replaced.

    Attributes:
        matrix: Ward distances `[c, c]`, symmetric, infinity on the diagonal.
        sizes: actions in each `[c]`.
    """

    matrix: Matrix
    sizes: Matrix


def ward(vectors: npt.ArrayLike, threshold: float) -> npt.NDArray[np.int64]:
    """Clusters of the rows of `vectors` by Ward's method, cut at `threshold`.

    The distance of two clusters A and B is `2 |A||B| / (|A|+|B|)` times the squared distance of
    their centroids: `|x - y|^2` for two points, and the square of the height that
    `scipy.cluster.hierarchy.linkage(..., "ward")` reports. Merges whose distance exceeds
    `threshold` are not made. Equal vectors always share a cluster.

    Differs from the paper, which follows one nearest-neighbour chain: here all pairs that are each
    other's nearest merge at once, round by round, and the chain finishes what rounds would be slow
    for. Ward's distance is reducible (a merge brings nobody nearer), so the order of such merges
    does not matter and the clusters are the same; where distances are exactly equal, any order is
    a right answer. Time O(m^2), memory within two matrices `[m, m]` of float32.

    Args:
        vectors: float `[m, d]`; distances are held in float32, right to about 2e-5 of themselves.
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
        PinnerSage (Pal et al., KDD 2020), section 4.1.
    """
    if not threshold >= 0:
        raise ValueError(
            f"`threshold` must be a squared distance, 0 or more. Received: {threshold}."
        )
    points, scale = centred(vectors)
    if len(points) < 2:
        return np.zeros(len(points), np.int64)
    # Below infinity, which marks rows that are gone.
    limit = min(float(threshold) / scale / scale, float(np.finfo(np.float32).max))
    clusters, first, copy_of = _start(points)
    return _numbered(first[_merge(clusters, limit)][copy_of])


def _start(points: npt.NDArray[np.floating]) -> tuple[_Clusters, Rows, Rows]:
    """The distinct vectors as clusters, the row of each `[u]`, and which of them each row is."""
    everything = np.arange(len(points))
    matrix, has_near = squared_distances(points)
    if not has_near:
        return _Clusters(matrix, np.ones(len(points), np.float32)), everything, everything
    del matrix
    # Equal vectors merge first whatever the threshold, and would be most of the near pairs.
    copy_of, first, counts = _distinct(points)
    matrix, _ = squared_distances(points[first])
    repair(matrix, points[first])
    sizes = counts.astype(np.float32)
    matrix *= sizes[:, None]
    matrix *= 2.0 * sizes
    matrix /= sizes + sizes[:, None]
    return _Clusters(matrix, sizes), first, copy_of


def _distinct(points: npt.NDArray[np.floating]) -> tuple[Rows, Rows, Rows]:
    """Each row's distinct vector `[m]`, where each is first seen `[u]`, how often `[u]`."""
    seen: dict[bytes, int] = {}
    # Adding 0.0 turns -0.0 into 0.0, which has other bytes.
    copy_of = np.array([seen.setdefault((row + 0.0).tobytes(), len(seen)) for row in points])
    first = np.unique(copy_of, return_index=True)[1]
    return copy_of, first, np.bincount(copy_of)


def _numbered(root: Rows) -> npt.NDArray[np.int64]:
    """Labels 0..c-1 by first appearance; `root` is the first row of each row's cluster."""
    is_root = root == np.arange(len(root))
    return (np.cumsum(is_root) - 1)[root].astype(np.int64)


def _merge(clusters: _Clusters, threshold: float) -> Rows:
    """First row of each row's cluster `[m]`, by rounds of mutual nearest neighbours.

    Args:
        clusters: one for each row; used up.
        threshold: largest distance at which clusters merge.
    """
    parent = np.arange(len(clusters.sizes))
    ids = parent.copy()
    while len(ids) > 1:
        here = np.arange(len(ids))
        nearest = clusters.matrix.argmin(axis=1)
        distance = clusters.matrix[here, nearest]
        # Distances to a cluster never fall, so one whose nearest is too far is final: it leaves.
        stays = distance <= threshold
        first = np.flatnonzero(stays & (nearest[nearest] == here) & (here < nearest))
        if first.size == 0:
            break
        if first.size * ROUND_SHARE < len(ids):
            _chain(clusters, ids, threshold, parent)
            break
        second = nearest[first]
        stays[first] = stays[second] = False
        rest = np.flatnonzero(stays)
        low, high = np.minimum(ids[first], ids[second]), np.maximum(ids[first], ids[second])
        parent[high] = low
        clusters.matrix = _round(clusters, first, second, distance[first], rest)
        sizes = clusters.sizes
        clusters.sizes = np.concatenate([sizes[first] + sizes[second], sizes[rest]])
        ids = np.concatenate([low, ids[rest]])
    while True:
        above = parent[parent]
        if np.array_equal(above, parent):
            return parent
        parent = above


def _lance_williams(
    first: Matrix, second: Matrix, between: Matrix, n_first: Matrix, n_second: Matrix, n: Matrix
) -> Matrix:
    """Distance to the union of two clusters, from those to each; PinnerSage section 4.1.

    `((n_i + n_k) d_ik + (n_j + n_k) d_jk - n_k d_ij) / (n_i + n_j + n_k)`, broadcast.
    """
    union = first * (n_first + n)
    union += second * (n_second + n)
    union -= between * n
    union /= n_first + n_second + n
    return union


def _round(clusters: _Clusters, first: Rows, second: Rows, between: Matrix, rest: Rows) -> Matrix:
    """The matrix after merging the pairs `first`, `second`: unions first, then `rest`."""
    matrix, sizes = clusters.matrix, clusters.sizes
    pairs = first.size
    n_first, n_second = sizes[first][:, None], sizes[second][:, None]
    n_union, between = n_first + n_second, between[:, None]
    after = np.empty((pairs + rest.size, pairs + rest.size), np.float32)
    unions = np.empty((pairs, pairs), np.float32)
    step = max(1, BLOCK_ELEMENTS // len(matrix))
    for start in range(0, pairs, step):
        rows = slice(start, min(start + step, pairs))
        to_old = _lance_williams(
            matrix[first[rows]], matrix[second[rows]], between[rows], n_first[rows],
            n_second[rows], sizes,
        )  # [rows, m]  # fmt: skip
        after[rows, pairs:] = to_old[:, rest]
        unions[rows] = _lance_williams(
            to_old[:, first], to_old[:, second], between.T, n_first.T, n_second.T, n_union[rows]
        )  # [rows, pairs]
    after[pairs:, :pairs] = after[:pairs, pairs:].T
    # Two steps of rounding in either order: the mean of both is symmetric again.
    np.add(unions, unions.T, out=after[:pairs, :pairs])
    after[:pairs, :pairs] *= 0.5
    for start in range(0, rest.size, step):
        after[pairs + start : pairs + start + step, pairs:] = matrix[
            rest[start : start + step]
        ].take(rest, axis=1)
    return after


def _chain(clusters: _Clusters, ids: Rows, threshold: float, parent: Rows) -> None:
    """Merges what is left along a nearest-neighbour chain; writes `parent`, uses up the rest."""
    matrix, sizes = clusters.matrix, clusters.sizes
    alive = np.ones(len(matrix), bool)
    chain: list[int] = []
    while True:
        if not chain:
            top = int(alive.argmax())
            if not alive[top]:
                return
            chain.append(top)
        top = chain[-1]
        row = matrix[top]
        near = int(row.argmin())
        distance = row[near]
        if not distance <= threshold:
            # Whatever leads here was at least as far from its nearest, and has left already.
            alive[top] = False
            matrix[:, top] = row[:] = np.inf
            chain.clear()
        elif len(chain) > 1 and distance >= row[chain[-2]]:
            chain.pop()
            keep = chain.pop()
            union = _lance_williams(matrix[keep], row, distance, sizes[keep], sizes[top], sizes)
            matrix[keep] = matrix[:, keep] = union
            matrix[top] = matrix[:, top] = np.inf
            sizes[keep] += sizes[top]
            alive[top] = False
            low, high = sorted((ids[keep], ids[top]))
            parent[high] = ids[keep] = low
        else:
            chain.append(near)
