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

    def call(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        tokens, flat_lengths = tf.reshape(tokens, [-1]), tf.reshape(lengths, [-1])  # [T], [R]
        rows = tf.repeat(tf.range(tf.size(flat_lengths)), flat_lengths)  # [T]
        a, b, p, n = (tf.constant(column) for column in self.hash_functions.T)
        wide = tf.cast(tokens, tf.int64)[:, None]
        indices = tf.math.floormod(tf.math.floormod(a * wide + b, p), n)  # [T, H]
        # `self.table.value`, not the table: a look-up must stay a gather of the float32 variable,
        # so that its gradient is sparse under every precision policy.
        vectors = tf.gather(self.table.value, indices)  # [T, H, dim]
        weights = tf.gather(self.importance.value, tokens)  # [T, H]
        mixed = tf.reduce_sum(vectors * weights[:, :, None], axis=1)  # [T, dim]
        # A segment sum over sorted rows, but with as many rows as bags: the last may be empty.
        bags = tf.math.unsorted_segment_sum(mixed, rows, tf.size(flat_lengths))  # [R, dim]
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
