"""Weights of an exported graph in the format that they are stored in: float32, float16 or int8.

Products and look-ups read the stored numbers and go on in float32, so that a model of half or a
quarter of the size needs nothing but core TensorFlow ops. What is read is dequantised where it is
used: one matrix at a time, of a table only the rows that are looked up.
"""

from typing import Literal

import numpy as np
import tensorflow as tf

from tfrs_sage.types import Tensor

WeightFormat = Literal["float32", "float16", "int8"]
_LARGEST_INT8 = 127


def quantise(weights: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers in -127..127 and the scale of each channel: weights are about number * scale.

    Symmetric, by the largest absolute value of a channel; half a step is the largest error.

    Args:
        weights: float32 `[rows, columns]`.
        axis: the axis that shares a scale: 0 for a scale a column, 1 for a scale a row.

    Returns:
        numbers: int8 `[rows, columns]`.
        scales: float32 `[1, columns]` or `[rows, 1]`; 1 for a channel of zeros.
    """
    largest = np.abs(weights).max(axis=axis, keepdims=True)
    scales = np.where(largest > 0, largest / _LARGEST_INT8, 1.0).astype(np.float32)
    return np.rint(weights / scales).astype(np.int8), scales


class StoredMatrix(tf.Module):
    """A matrix to multiply with; int8 has a scale for each column, an output channel.

    Args:
        weights: float32 `[inputs, outputs]`.
        format: what is kept.
    """

    def __init__(self, weights: np.ndarray, format: WeightFormat) -> None:
        super().__init__()
        self.scales: tf.Variable | None = None
        if format == "int8":
            weights, scales = quantise(weights, axis=0)
            self.scales = tf.Variable(scales, trainable=False)
        dtype = tf.dtypes.as_dtype(format)
        self.weights = tf.Variable(weights, dtype=dtype, trainable=False)

    def __call__(self, inputs: Tensor) -> Tensor:
        """float32 `[n, inputs]` times the matrix: float32 `[n, outputs]`."""
        if self.weights.dtype == tf.float32:
            return tf.matmul(inputs, self.weights)
        # Not before its turn: else every matrix would be in memory in float32 at once.
        with tf.control_dependencies([inputs]):
            weights = tf.cast(self.weights, tf.float32)
        product = tf.matmul(inputs, weights)
        # A column's scale is the same for all of its terms, so it is applied to their sum.
        return product if self.scales is None else product * self.scales


class StoredTable(tf.Module):
    """Rows to look up; int8 has a scale for each row.

    Args:
        rows: float32 `[num_rows, width]`.
        format: what is kept.
    """

    def __init__(self, rows: np.ndarray, format: WeightFormat) -> None:
        super().__init__()
        self.scales: tf.Variable | None = None
        if format == "int8":
            rows, scales = quantise(rows, axis=1)
            self.scales = tf.Variable(scales, trainable=False)
        self.rows = tf.Variable(rows, dtype=tf.dtypes.as_dtype(format), trainable=False)

    def __call__(self, ids: Tensor) -> Tensor:
        """float32 `[n, width]` of int32 `[n]` row numbers."""
        rows = tf.cast(tf.gather(self.rows, ids), tf.float32)
        return rows if self.scales is None else rows * tf.gather(self.scales, ids)
