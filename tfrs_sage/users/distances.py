"""Squared distances between the actions of a user, from one matrix product.

`|x - y|^2 = |x|^2 + |y|^2 - 2 x.y` in float32 is many times faster than the differences, and
loses small distances to rounding. So the few pairs that come out near are computed again from
their differences; where they are many, all is done with care: centred, distinct, in float64.

Distances are *condensed*, as SciPy writes them: the pairs (0, 1), (0, 2), ..., (m-2, m-1).
"""

import math

import numpy as np
import numpy.typing as npt

Condensed = npt.NDArray[np.float64]
Points = npt.NDArray[np.floating]
Rows = npt.NDArray[np.intp]

# Rows of the product held at once: what is held beside the result is this times m.
BLOCK_ROWS = 256
# A pair nearer than this share of |x|^2 + |y|^2 is computed again. A float32 product is wrong by
# about 2e-7 of that sum, so what is kept is right to 2e-5 of itself (float64: 1e-6).
NEAR_SHARE = {np.dtype(np.float32): 1e-2, np.dtype(np.float64): 1e-9}
# With more near pairs than this for each row, computing them one by one is no longer the fast way.
NEAR_PAIRS = 4
# Squared norms within these bounds neither overflow float32 nor vanish in it.
USUAL_NORMS = (1e-20, 1e30)


def squared_distances(vectors: npt.ArrayLike) -> tuple[Condensed, float]:
    """Squared distances of all pairs of rows, right to 2e-5 of themselves; equal rows exactly 0.

    Args:
        vectors: float `[m, d]`, finite.

    Returns:
        float64 `[m (m - 1) / 2]` of the vectors divided by a scale, and that scale, which is 1
        unless squares would leave float32.

    Raises:
        ValueError: not a matrix, or an entry that is NaN or infinite; names the first such row.
    """
    given = np.asarray(vectors)
    if given.ndim != 2:
        raise ValueError(f"`vectors` must be a matrix [m, d]. Received: shape {given.shape}.")
    if len(given) < 2:
        # No pair; what is not finite is refused all the same.
        return _careful(given) if len(given) else (np.empty(0), 1.0)
    low = given
    if given.dtype != np.float32:
        with np.errstate(over="ignore"):
            low = given.astype(np.float32)
    norms = np.einsum("ij,ij->i", low, low)  # (which raises no warnings)
    largest = float(norms.max())
    # Also false where an entry is not finite.
    if USUAL_NORMS[0] < largest < USUAL_NORMS[1]:
        distances = _products(low, norms)
        near = np.flatnonzero(distances < NEAR_SHARE[low.dtype] * 2.0 * largest)
        if near.size <= NEAR_PAIRS * len(low):
            if near.size:
                _from_differences(distances, given, near)
            return distances, 1.0
        del distances
    return _careful(given)


def _products(points: Points, norms: Points) -> Condensed:
    """Condensed squared distances as the product gives them; `norms` are squared, `[m]`."""
    columns = np.arange(len(points), dtype=np.int32)
    parts = []
    for start in range(0, len(points), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        block = points[rows] @ points[start:].T
        block *= -2.0
        block += norms[start:]
        block += norms[rows, None]
        size, width = block.shape
        parts.append(block[np.less.outer(columns[:size], columns[:width])])
        del block
    return np.concatenate(parts, dtype=np.float64)


def _from_differences(distances: Condensed, points: Points, pairs: Rows) -> None:
    """Computes the distances at the places `pairs` again, in place."""
    row_starts = _row_starts(len(points))
    for start in range(0, pairs.size, BLOCK_ROWS):
        places = pairs[start : start + BLOCK_ROWS]
        first = np.searchsorted(row_starts, places, side="right") - 1
        second = places - row_starts[first] + first + 1
        differences = points[first].astype(np.float64)
        differences -= points[second]
        distances[places] = np.einsum("ij,ij->i", differences, differences)


def _row_starts(num: int) -> Rows:
    """Where the pairs (i, i + 1), (i, i + 2), ... begin, for each i but the last `[m - 1]`."""
    row = np.arange(max(num - 1, 0))
    return row * (2 * num - row - 1) // 2


def _careful(vectors: Points) -> tuple[Condensed, float]:
    """`squared_distances` for any finite numbers: far from 0, huge, tiny, mostly near or equal."""
    points, scale = _centred(vectors)
    seen: dict[bytes, int] = {}
    copy_of = np.array([seen.setdefault(row.tobytes(), len(seen)) for row in points], np.intp)
    points = points[np.unique(copy_of, return_index=True)[1]]
    norms = np.einsum("ij,ij->i", points, points)
    distances = _products(points, norms)
    for row, start in enumerate(_row_starts(len(points))):
        limits = (norms[row + 1 :] + norms[row]) * NEAR_SHARE[points.dtype]
        near = np.flatnonzero(distances[start : start + limits.size] < limits)
        _from_differences(distances, points, start + near)
    if len(points) < len(copy_of):
        distances = _spread(distances, copy_of, len(points))
    return distances, scale


def _spread(distances: Condensed, copy_of: Rows, num_distinct: int) -> Condensed:
    """Distances of all rows, where row `i` is the distinct row `copy_of[i]`."""
    num = len(copy_of)
    spread = np.zeros(num * (num - 1) // 2)
    distinct_starts = _row_starts(num_distinct + 1)
    for row, start in enumerate(_row_starts(num)):
        others = copy_of[row + 1 :]
        low, high = np.minimum(others, copy_of[row]), np.maximum(others, copy_of[row])
        different = np.flatnonzero(low < high)
        low, high = low[different], high[different]
        # Row `low` begins `low` places earlier here, where the count of rows is one less.
        places = distinct_starts[low] - low + high - low - 1
        spread[start + different] = distances[places]
    return spread


def _centred(vectors: Points) -> tuple[npt.NDArray[np.float64], float]:
    """The vectors about their mean, divided by a power of two so that the largest entry is near 1.

    Distances do not change with the origin, and far from it the product would leave most of them
    to be computed again. The power of two keeps the squares finite and rounds nothing.
    """
    values = vectors.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if bad.size:
        raise ValueError(
            f"`vectors` must be finite. Received: row {bad[0]} holds NaN or infinity "
            f"({bad.size} such rows). Drop these actions first."
        )
    # Scaled before the mean is taken, so that the mean of large entries cannot overflow.
    scale = _power_of_two(float(np.abs(values).max(initial=0.0)))
    values /= scale
    values -= values.mean(axis=0)
    spread = _power_of_two(float(np.abs(values).max(initial=0.0)))
    values /= spread
    # Adding 0.0 turns -0.0 into 0.0, which has other bytes.
    return values + 0.0, scale * spread


def _power_of_two(value: float) -> float:
    """The largest power of two that is not above `value`; 1 for 0."""
    return math.ldexp(1.0, math.frexp(value)[1] - 1) if value > 0 else 1.0
