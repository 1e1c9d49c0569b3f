"""Sparse gradients of embedding tables, kept as small as the rows that they touch."""

from typing import Any

import tensorflow as tf


def each_row_once(gradient: Any) -> Any:
    """A sparse gradient with the sum of each row's parts; any other as it is."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    rows, position = tf.unique(gradient.indices)
    values = tf.math.unsorted_segment_sum(gradient.values, position, tf.size(rows))
    return tf.IndexedSlices(values, rows, gradient.dense_shape)


def add_gradients(one: Any, other: Any) -> Any:
    """The sum of two gradients of a variable; None counts for nothing, sparse ones stay sparse."""
    if one is None or other is None:
        return other if one is None else one
    if isinstance(one, tf.IndexedSlices) and isinstance(other, tf.IndexedSlices):
        joined = tf.IndexedSlices(
            tf.concat([one.values, other.values], axis=0),
            tf.concat([one.indices, other.indices], axis=0),
            one.dense_shape,
        )
        return each_row_once(joined)
    return tf.convert_to_tensor(one) + tf.convert_to_tensor(other)
