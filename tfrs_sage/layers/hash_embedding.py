"""Bags of n-gram ids as one vector: hash embedding, summed, normalised."""

import random
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrs_sage.types import Tensor


def _next_prime(number: int) -> int:
    def is_prime(n: int) -> bool:
        return n > 1 and all(n % factor for factor in range(2, int(n**0.5) + 1))

    while not is_prime(number):
        number += 1
    return number


def draw_hash_functions(
    num_hashes: int, vocabulary_size: int, table_size: int, seed: int
) -> np.ndarray:
    """Draws `(a, b, p, N)` of `h(x) = ((a x + b) mod p) mod N`, int64 `[num_hashes, 4]`.

    `p` is a prime of at most 32 bits and not below the vocabulary's size, so that for a
    vocabulary of up to 2**31 ids `a x + b` stays within 63 bits.
    """
    draw = random.Random(seed)
    rows = []
    for _ in range(num_hashes):
        prime = _next_prime(draw.randint(max(vocabulary_size, 2**31), 2**32))
        rows.append((draw.randint(1, prime - 1), draw.randint(0, prime - 1), prime, table_size))
    return np.array(rows, np.int64)


@tf.custom_gradient
def _sum_bags(vectors: Tensor, position: Tensor, bag_of_token: Tensor, num_bags: Tensor) -> Any:
    """Sums of the vectors of each bag's tokens, without a vector for every token in memory.

    Args:
        vectors: float `[num_ids, dim]`, one for each distinct id.
        position: int32 `[num_tokens]`, the row of `vectors` of each token.
        bag_of_token: int32 `[num_tokens]`, ascending.
        num_bags: int32 scalar.

    Returns:
        float `[num_bags, dim]`, zeros where a bag is empty.
    """
    num_ids = tf.shape(vectors)[0]

    def gradient(upstream: Tensor) -> tuple[Any, ...]:
        # An id's gradient is the sum over the bags that it is in: the same sum, with the roles
        # changed. Sorted, each row is written once; TensorFlow's own gradient adds to rows at
        # random places of a matrix that no cache holds, which takes several times as long.
        order = tf.argsort(position)
        sums = tf.sparse.segment_sum(
            upstream,
            tf.gather(bag_of_token, order),
            tf.gather(position, order),
            num_segments=num_ids,
        )
        return sums, None, None, None

    return tf.sparse.segment_sum(vectors, position, bag_of_token, num_segments=num_bags), gradient


@keras.saving.register_keras_serializable("tfrs_sage")
class HashEmbeddingBag(keras.layers.Layer):
    """Embeds bags of ids: hashed look-ups, mixed by learned weights, summed, LayerNorm.

    Hash embedding (Svenstrup et al., 2017, arXiv 1709.03933) as ItemSage and OmniSearchSage use
    it: `num_hashes` hash functions pick rows of one shared table, a learned importance of each
    token and hash function weighs them, a bag is the sum over its tokens, then LayerNorm.

    Args:
        vocabulary_size: int, ids are in `[0, vocabulary_size)`.
        dim: int, width of a row and of the result.
        table_size: int, rows of the shared table (100,000 in the papers).
        num_hashes: int, hash functions (2 in the papers).
        seed: int, draws the hash functions.

    Call arguments:
        tokens: int32 `[num_tokens]`, the ids of all bags one after another.
        lengths: int32 `[..., ]` of any rank, how many of them each bag takes.

    Returns:
        float `lengths.shape + [dim]`. An empty bag gives the LayerNorm of zeros: mask it.

    Example:
        >>> bag = HashEmbeddingBag(vocabulary_size=100, dim=8, table_size=32)
        >>> bag(tf.constant([1, 2, 3]), tf.constant([[2], [1]])).shape
        TensorShape([2, 1, 8])
    """

    def __init__(
        self,
        vocabulary_size: int,
        dim: int = 256,
        table_size: int = 100_000,
        num_hashes: int = 2,
        seed: int = 1924031,
        epsilon: float = 1e-5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        # === Config ===
        self.vocabulary_size = vocabulary_size
        self.dim = dim
        self.table_size = table_size
        self.num_hashes = num_hashes
        self.seed = seed
        self.epsilon = epsilon
        # === Layers ===
        self.hash_functions = draw_hash_functions(num_hashes, vocabulary_size, table_size, seed)
        self.norm = keras.layers.LayerNormalization(epsilon=epsilon, name="norm")

    def build(self, tokens_shape: Any, lengths_shape: Any = None) -> None:
        self.table = self.add_weight(
            shape=(self.table_size, self.dim), initializer="glorot_normal", name="table"
        )
        self.importance = self.add_weight(
            shape=(self.vocabulary_size, self.num_hashes),
            initializer=keras.initializers.RandomNormal(0.0, 1.0, seed=self.seed),
            name="importance",
        )
        self.norm.build((None, self.dim))
        self.built = True

    def start_as_projection(self, weights: np.ndarray) -> None:
        """Makes a bag, before it learns, a random projection of its weighted counts.

        Importances become `weights` with random signs, rows of the table vectors of about length 1
        in random directions: the dot product of two bags is then near that of the two vectors of
        weighted counts, with an error of order 1 / sqrt(dim) of their lengths' product.

        Args:
            weights: float `[vocabulary_size]`, what an id is worth, e.g. its inverse frequency.
        """
        draw = np.random.default_rng(self.seed)
        signs = draw.choice([-1.0, 1.0], size=(self.vocabulary_size, self.num_hashes))
        self.importance.assign(signs * weights[:, None] / np.sqrt(self.num_hashes))
        self.table.assign(draw.normal(0.0, self.dim**-0.5, size=(self.table_size, self.dim)))

    def call(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        tokens, flat_lengths = tf.reshape(tokens, [-1]), tf.reshape(lengths, [-1])  # [T], [R]
        bag_of_token = tf.repeat(tf.range(tf.size(flat_lengths)), flat_lengths)  # [T]
        # Each id of a batch is embedded once: the frequent n-grams fill most of the bags.
        ids, position = tf.unique(tokens)  # [U], [T]
        weights = tf.gather(self.importance.value, ids)  # [U, H]
        wide = tf.cast(ids, tf.int64)
        parts = []
        for i, (a, b, p, n) in enumerate(self.hash_functions):
            rows = tf.math.floormod(tf.math.floormod(a * wide + b, p), n)  # [U]
            # `self.table.value`, not the table: a look-up must stay a gather of the float32
            # variable, so that its gradient is sparse under every precision policy.
            parts.append(tf.gather(self.table.value, rows) * weights[:, i : i + 1])  # [U, dim]
        bags = _sum_bags(tf.add_n(parts), position, bag_of_token, tf.size(flat_lengths))  # [R, dim]
        bags = self.norm(bags)
        return tf.reshape(bags, tf.concat([tf.shape(lengths), [self.dim]], axis=0))

    def compute_output_shape(self, tokens_shape: Any, lengths_shape: Any) -> tuple[Any, ...]:
        return (*lengths_shape, self.dim)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "dim": self.dim,
            "table_size": self.table_size,
            "num_hashes": self.num_hashes,
            "seed": self.seed,
            "epsilon": self.epsilon,
        }
