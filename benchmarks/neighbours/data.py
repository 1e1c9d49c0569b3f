"""Clustered vectors with held-out queries, and their exact neighbours."""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
CLUSTER_SIZE = 100  # rows of a cluster on average; sizes follow Zipf's law
SPREAD = 1.0  # length of a row's offset from its centre, as a share of the centre's
AT_ONCE = 100_000


def clustered(count: int, num_queries: int, dimension: int, seed: int) -> tuple[FloatArray, ...]:
    """Unit vectors in clusters of clusters, and queries drawn as they are but not among them.

    A row is a top (one of 100) + a centre's offset + an offset of its own. Offsets decay as the
    spectrum of embeddings does: the j-th direction has a standard deviation of j^-0.5.

    Returns:
        vectors: float32 `[count, dimension]`.
        queries: float32 `[num_queries, dimension]`.
    """
    random = np.random.default_rng(seed)
    num_centres = max(10, count // CLUSTER_SIZE)
    scale = np.arange(1, dimension + 1) ** -0.5
    scale *= np.sqrt(dimension / np.sum(scale**2))
    tops = random.normal(size=(100, dimension))
    centres = tops[random.integers(100, size=num_centres)]
    centres += random.normal(size=centres.shape)
    share = 1 / np.arange(1, num_centres + 1) ** 0.5
    total = count + num_queries
    cluster = random.choice(num_centres, size=total, p=share / share.sum())
    rows = np.empty((total, dimension), np.float32)
    for start in range(0, total, AT_ONCE):
        part = slice(start, start + AT_ONCE)
        own = random.normal(size=(len(cluster[part]), dimension)) * scale
        rows[part] = centres[cluster[part]] + SPREAD * np.sqrt(2) * own
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows[:count], rows[count:]
