"""k-means leaves of about equal size, trained on a sample."""

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_sage.index.partitioned_ops import GROUPED
from tfrs_sage.types import Tensor

FloatArray = npt.NDArray[np.float32]
LeafArray = npt.NDArray[np.int64]

ROUNDS = 6  # of Lloyd's algorithm
SAMPLES_PER_LEAF = 30
LARGEST = 2.0  # a leaf of more than so many times the mean is divided
SCORES_AT_ONCE = 2**21  # products with centres: 8 MiB, which stay in the cache


def make_leaves(
    vectors: FloatArray, num_leaves: int, seed: int = 0
) -> tuple[FloatArray, LeafArray]:
    """Divides vectors into leaves by Lloyd's algorithm, from random rows as first centres.

    The centres are learned from a sample. Leaves that come out more than `LARGEST` times the mean
    are divided again, so that the time of a search depends little on where its query lies;
    centres that no vector is nearest to are left out.

    Args:
        vectors: float32 `[n, d]`.
        num_leaves: about as many as there will be; 1 to n.
        seed: of the sample and the first centres.

    Returns:
        centroids: float32 `[leaves, d]`, the mean of each leaf.
        leaf: int64 `[n]`, each at least once.
    """
    random = np.random.default_rng(seed)
    size = min(len(vectors), num_leaves * SAMPLES_PER_LEAF)
    sample = vectors[np.sort(random.choice(len(vectors), size, replace=False))]
    centres = _lloyd(sample, num_leaves, random)
    leaf = _divided(vectors, nearest(vectors, centres), random)
    return _means(vectors, leaf), leaf


def nearest(vectors: FloatArray, centres: FloatArray) -> LeafArray:
    """The centre with the least Euclidean distance to each vector, int64 `[n]`."""
    at_once = max(64, SCORES_AT_ONCE // len(centres))
    parts = [
        _nearest(vectors[start : start + at_once], centres).numpy()
        for start in range(0, len(vectors), at_once)
    ]
    return np.concatenate(parts)


@tf.function(input_signature=[tf.TensorSpec([None, None]), tf.TensorSpec([None, None])])
def _nearest(vectors: Tensor, centres: Tensor) -> Tensor:
    missing = -tf.shape(centres)[0] % GROUPED
    offsets = tf.pad(
        0.5 * tf.reduce_sum(tf.square(centres), axis=1), [[0, missing]], "CONSTANT", np.inf
    )
    centres = tf.pad(centres, [[0, missing], [0, 0]])
    scores = tf.matmul(vectors, centres, transpose_b=True) - offsets  # [n, leaves]
    # `argmax` is slow, so that it is taken of maxima first.
    groups = tf.reshape(scores, [tf.shape(vectors)[0], GROUPED, -1])
    group = tf.argmax(tf.reduce_max(groups, axis=1), axis=1)
    members = tf.gather(groups, group, axis=2, batch_dims=1)  # [n, GROUPED]
    width = tf.cast(tf.shape(groups)[2], tf.int64)
    return tf.argmax(members, axis=1) * width + group


def _lloyd(sample: FloatArray, num_centres: int, random: np.random.Generator) -> FloatArray:
    centres = sample[random.choice(len(sample), num_centres, replace=False)]
    for _ in range(ROUNDS):
        leaf = nearest(sample, centres)
        lost = np.bincount(leaf, minlength=num_centres) == 0
        used, leaf = np.unique(leaf, return_inverse=True)
        centres[used] = _means(sample, leaf)
        # A centre without vectors begins again at a random one.
        centres[lost] = sample[random.choice(len(sample), int(lost.sum()), replace=False)]
    return centres


def _means(vectors: FloatArray, leaf: LeafArray) -> FloatArray:
    """Mean of each leaf, float32 `[leaves, d]`; leaves are numbered without gaps."""
    sizes = np.bincount(leaf)
    order = np.argsort(leaf, kind="stable")
    starts = np.cumsum(sizes) - sizes
    means = np.empty((len(sizes), vectors.shape[1]), np.float32)
    at_once = max(1, 2**26 // vectors.shape[1] // int(sizes.max()))  # leaves; 256 MiB of rows
    for first in range(0, len(sizes), at_once):
        some = slice(first, first + at_once)
        begin, end = starts[some][0], starts[some][-1] + sizes[some][-1]
        totals = np.add.reduceat(vectors[order[begin:end]], starts[some] - begin)
        means[some] = totals / sizes[some, np.newaxis]
    return means


def _divided(vectors: FloatArray, leaf: LeafArray, random: np.random.Generator) -> LeafArray:
    """Leaves without gaps in their numbers, none of more than `LARGEST` times the mean."""
    _, leaf = np.unique(leaf, return_inverse=True)
    most = int(np.ceil(LARGEST * len(leaf) / (leaf.max() + 1)))
    order = np.argsort(leaf, kind="stable")
    pieces: list[npt.NDArray[np.int64]] = []
    for members in np.split(order, np.cumsum(np.bincount(leaf))[:-1]):
        pieces += _pieces(vectors, members, most, random)
    divided = np.empty(len(leaf), np.int64)
    for number, members in enumerate(pieces):
        divided[members] = number
    return divided


def _pieces(
    vectors: FloatArray, members: npt.NDArray[np.int64], most: int, random: np.random.Generator
) -> list[npt.NDArray[np.int64]]:
    """`members` in parts of at most `most`, by k-means, or where that fails (equal vectors) cut."""
    if len(members) <= most:
        return [members]
    count = -(-2 * len(members) // most)
    inside = vectors[members]
    part = nearest(inside, _lloyd(inside, count, random))
    found = [members[part == number] for number in np.unique(part)]
    if max(map(len, found)) > 0.9 * len(members):
        return np.array_split(members, count)
    return [piece for one in found for piece in _pieces(vectors, one, most, random)]
