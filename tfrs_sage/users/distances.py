"""Squared distances between the actions of a user, from one matrix product.

`|x - y|^2 = |x|^2 + |y|^2 - 2 x.y` is many times faster than the differences, and loses the
small distances to rounding. So the vectors are first centred and scaled, and the few pairs that
are still near, measured by their norms, are computed again from their differences.
"""

import math

import numpy as np
import numpy.typing as npt

# A block of rows that stays in a core's cache while several operations pass over it.
BLOCK_ELEMENTS = 1 << 15
# A pair nearer than this share of |x|^2 + |y|^2 is computed again: a float32 product is wrong by
# about 2e-7 of that sum, so what is kept is right to 2e-5 of itself.
NEAR_SHARE = 0.01


def centred(vectors: npt.ArrayLike) -> tuple[npt.NDArray[np.floating], float]:
    """The vectors about their mean, divided by a power of two so that the largest entry is near 1.

    Distances do not change with the origin, and far from the origin the product formula would
    lose them. The power of two keeps the squares within float32 and rounds nothing.

    Args:
        vectors: float `[m, d]`, finite.

    Returns:
        `[m, d]` in float32 for float32 input, else float64, and the factor by which distances were
        divided.

    Raises:
        ValueError: not a matrix, or an entry that is NaN or infinite; names the first such row.
    """
    given = np.asarray(vectors)
    if given.ndim != 2:
        raise ValueError(f"`vectors` must be a matrix [m, d]. Received: shape {given.shape}.")
    values = given if given.dtype == np.float32 else given.astype(np.float64)
    # A sum is finite only when all its terms are, so the common case costs one pass.
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(values.sum())
    if not finite:
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if bad.size:
            raise ValueError(
                "`vectors` must be finite. Received: row "
                f"{bad[0]} holds NaN or infinity ({bad.size} such rows). Drop these actions first."
            )
    if values.size == 0:
        return values, 1.0
    # Scaled before the mean is taken, so that the mean of large entries cannot overflow.
    largest = max(float(values.max()), -float(values.min()))
    scale = _power_of_two(largest) if largest > 0 else 1.0
    values = values / values.dtype.type(scale)
    values -= values.mean(axis=0)
    spread = max(float(values.max()), -float(values.min()))
    if 0 < spread < 0.25:
        factor = _power_of_two(spread)
        values /= values.dtype.type(factor)
        scale *= factor
    return values, scale


def _power_of_two(value: float) -> float:
    """The largest power of two that is not above `value`."""
    return math.ldexp(1.0, math.frexp(value)[1] - 1)


def squared_distances(points: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.float32], bool]:
    """All squared distances, with infinity on the diagonal.

    Args:
        points: `[m, d]` as `centred` returns them.

    Returns:
        float32 `[m, m]`, exactly symmetric, never negative; and whether any two points lie so near
        each other that `repair` must compute them again.
    """
    low = points.astype(np.float32, copy=False)
    norms = np.einsum("ij,ij->i", low, low)
    matrix = low @ low.T
    largest = norms.max(initial=0.0)
    nearest = np.inf
    rows = max(1, BLOCK_ELEMENTS // max(1, len(low)))
    for start in range(0, len(low), rows):
        block = matrix[start : start + rows]
        block *= -2.0
        block += norms + norms[start : start + rows, None]
        np.maximum(block, 0.0, out=block)
        block.ravel()[start :: len(low) + 1] = np.inf
        nearest = min(nearest, block.min())
    return matrix, bool(nearest < NEAR_SHARE * 2.0 * largest)


def repair(matrix: npt.NDArray[np.float32], points: npt.NDArray[np.floating]) -> None:
    """Computes the near pairs of `matrix` again from their differences, in place."""
    norms = np.einsum("ij,ij->i", points, points)
    rows = max(1, BLOCK_ELEMENTS // max(1, points.shape[1]))
    for row in range(len(points) - 1):
        limit = (norms[row + 1 :] + norms[row]) * NEAR_SHARE
        near = np.flatnonzero(matrix[row, row + 1 :] < limit) + row + 1
        for start in range(0, near.size, rows):
            columns = near[start : start + rows]
            differences = (points[columns] - points[row]).astype(np.float64)
            exact = np.einsum("ij,ij->i", differences, differences)
            matrix[row, columns] = exact
            matrix[columns, row] = exact
