"""t-SNE: points of many dimensions on a plane, neighbours beside neighbours."""

import numpy as np
import numpy.typing as npt

from tfrs_sage.report.users_map import principal_components

Floats = npt.NDArray[np.float32]
ITERATIONS, EXAGGERATED, EXAGGERATION = 500, 150, 12.0
START_SPREAD = 1e-4
BISECTIONS = 50
TINY = 1e-12


def tsne(vectors: npt.ArrayLike, perplexity: float = 30.0) -> Floats:
    """Places of the rows on a plane, float32 `[n, 2]`. No chance is in it.

    Exact, so for some thousands of rows: memory and the time of a step grow with n^2.

    Args:
        vectors: `[n, d]`, n >= 2. Distances are Euclidean.
        perplexity: about how many neighbours each row has; at most a third of the others count.

    References:
        van der Maaten and Hinton, JMLR 9 (2008); started from principal components (Kobak and
        Berens, Nature Communications 2019), with the learning rate n / exaggeration (Belkina et
        al., Nature Communications 2019).
    """
    rows = np.asarray(vectors, np.float32)
    count = len(rows)
    if count < 2:
        raise ValueError(f"a map needs two points or more. Received: {count}.")
    near = joint_affinities(rows, min(perplexity, max(1.0, (count - 1) / 3)))
    places = principal_components(rows)[0].astype(np.float32)
    places *= START_SPREAD / max(float(places[:, 0].std()), TINY)
    rate = max(count / EXAGGERATION, 10.0)
    velocity, gains = np.zeros_like(places), np.ones_like(places)
    for step in range(ITERATIONS):
        pulled = near * EXAGGERATION if step < EXAGGERATED else near
        slope = gradient(pulled, places)
        # Jacobs' rule, as in the reference implementation: bolder where the direction holds.
        gains = np.where(np.sign(slope) == np.sign(velocity), gains * 0.8, gains + 0.2).clip(0.01)
        momentum = 0.5 if step < EXAGGERATED else 0.8
        velocity = momentum * velocity - rate * gains * slope
        places += velocity
        places -= places.mean(axis=0)
    return places


def joint_affinities(rows: Floats, perplexity: float) -> Floats:
    """P of the paper: symmetric, `[n, n]`, zero on the diagonal, all of it summing to 1.

    Each row's Gaussian is as wide as gives its neighbours the perplexity; found by bisection of
    the precision, all rows at once.
    """
    distances = squared_distances(rows)
    # Of the nearest other row: keeps the exponentials from vanishing together.
    np.fill_diagonal(distances, np.inf)
    distances -= distances.min(axis=1, keepdims=True)
    low, high = np.zeros(len(rows)), np.full(len(rows), np.inf)
    precision = np.ones(len(rows))
    for _ in range(BISECTIONS):
        weights = np.exp(-distances * precision[:, None])
        total = weights.sum(axis=1)
        spread = np.where(np.isfinite(distances), distances, 0.0) * weights
        entropy = np.log(total) + precision * spread.sum(axis=1) / total
        wide = entropy > np.log(perplexity)
        low, high = np.where(wide, precision, low), np.where(wide, high, precision)
        middle = np.where(np.isfinite(high), (low + high) / 2, precision * 2)
        precision = np.where(np.isfinite(middle), middle, precision)
    given = weights / weights.sum(axis=1, keepdims=True)
    joint: Floats = ((given + given.T) / (2 * len(rows))).astype(np.float32)
    return joint


def gradient(near: Floats, places: Floats) -> Floats:
    """Slope of the Kullback-Leibler divergence by the places, `[n, 2]` (the paper's equation 5)."""
    kernel = 1.0 / (1.0 + squared_distances(places))
    np.fill_diagonal(kernel, 0.0)
    pull = (near - kernel / kernel.sum()) * kernel
    slope: Floats = 4.0 * (pull.sum(axis=1, keepdims=True) * places - pull @ places)
    return slope


def squared_distances(rows: Floats) -> Floats:
    """`[n, n]`, never below 0."""
    norms = np.einsum("ij,ij->i", rows, rows)
    distances: Floats = norms[:, None] + norms[None, :] - 2.0 * rows @ rows.T
    return np.maximum(distances, 0.0)


def neighbours_kept(vectors: Floats, places: Floats, number: int = 10) -> float:
    """Share of each row's nearest `number` that are among its nearest `number` on the plane."""
    number = min(number, len(vectors) - 1)
    nearest = []
    for rows in (vectors, places):
        distances = squared_distances(np.asarray(rows, np.float32))
        np.fill_diagonal(distances, np.inf)
        nearest.append(np.argpartition(distances, number - 1, axis=1)[:, :number])
    kept = [len(set(a) & set(b)) for a, b in zip(*(one.tolist() for one in nearest), strict=True)]
    return float(np.mean(kept)) / number
