"""How often an id was seen: a count-min sketch that lives in the training graph."""

import keras
import numpy as np
import tensorflow as tf

from tfrs_sage.losses.replicas import update_everywhere
from tfrs_sage.types import Tensor


@keras.saving.register_keras_serializable("tfrs_sage")
class CountMinSketch(keras.layers.Layer):
    """Streaming frequency counts in constant memory (Cormode and Muthukrishnan, 2005).

    `depth` rows of `width` counters. An id adds 1 to one counter a row; its estimate is the
    smallest of them. An estimate is never below the true count, and with `n` ids seen it is above
    it by more than `2 n / width` with a probability of at most `2 ** -depth`. The counters are
    weights that do not train: they are part of the checkpoint. Under `tf.distribute` every replica
    must be given the ids of the global batch (`losses.replicas.gather_rows`).

    Memory: `4 * depth * width` bytes. Hashing is multiply-shift on 64 bits (Dietzfelbinger et
    al., 1997); differs from the official implementation, which takes a multiply modulo `2**31-1`.

    Args:
        width: int, a power of two. OmniSearchSage uses 2**26.
        depth: int, number of hash functions. OmniSearchSage uses 2.
        seed: int, draws the hash functions.

    Example:
        >>> sketch = CountMinSketch(width=1024)
        >>> sketch.update(tf.constant([7, 7, 9], tf.int64))
        >>> sketch(tf.constant([7, 9, 8], tf.int64)).numpy().tolist()
        [2, 1, 0]
    """

    def __init__(
        self, width: int = 2**20, depth: int = 2, seed: int = 19980115, name: str | None = None
    ) -> None:
        # The policy of the towers must not reach the counters.
        super().__init__(name=name, trainable=False, dtype="float32")
        if width < 2 or width & (width - 1):
            raise ValueError(f"`width` must be a power of two, 2 or more. Received: {width}.")
        if depth < 1:
            raise ValueError(f"`depth` must be 1 or more. Received: {depth}.")
        self.width, self.depth, self.seed = width, depth, seed
        draw = np.random.default_rng(seed)
        # Odd multipliers of 64 bits: multiply-shift needs them odd.
        self._multipliers = draw.integers(0, 2**63, size=depth, dtype=np.uint64) * 2 + 1
        self._shift = 64 - int(width).bit_length() + 1
        self.counts = self.add_weight(
            shape=(depth * width,),
            dtype="int32",
            initializer="zeros",
            trainable=False,
            name="counts",
        )
        self.total = self.add_weight(
            shape=(),
            dtype="int64",
            initializer="zeros",
            trainable=False,
            name="total",
        )

    def _cells(self, ids: Tensor) -> Tensor:
        """Places of each id's counters, row after row: int64 `[num_ids, depth]`."""
        product = tf.cast(ids, tf.uint64)[:, None] * tf.constant(self._multipliers)[None, :]
        columns = tf.bitwise.right_shift(product, tf.constant(self._shift, tf.uint64))
        return tf.cast(columns, tf.int64) + tf.range(self.depth, dtype=tf.int64) * self.width

    def update(self, ids: Tensor) -> None:
        """Counts `ids`, int64 `[num_ids]`; an id that comes twice counts twice."""
        cells = tf.reshape(self._cells(ids), [-1])
        ones = tf.ones_like(cells, tf.int32)
        update_everywhere(
            self.counts.value,
            lambda copy, added: copy.scatter_add(added),
            tf.IndexedSlices(ones, cells),
        )
        update_everywhere(
            self.total.value, lambda copy, added: copy.assign_add(added), tf.size(ids, tf.int64)
        )

    def call(self, ids: Tensor) -> Tensor:
        """Estimated count of each of `ids`, int64 `[num_ids]`: int32 `[num_ids]`."""
        return tf.reduce_min(tf.gather(self.counts.value, self._cells(ids)), axis=1)

    def get_config(self) -> dict[str, int]:
        return {"width": self.width, "depth": self.depth, "seed": self.seed}
