"""The sparse update against the dense one, and the schedule."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrs_sage.training.optimizer import LazyAdamW, LazyLamb, WarmupCosine


def minimise(optimizer, indices, steps=1):
    """Steps of a table whose gathered rows are pulled towards 1."""
    table = keras.Variable(np.arange(12, dtype=np.float32).reshape(6, 2), name="table")
    optimizer.build([table])
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum((tf.gather(table.value, indices) - 1.0) ** 2)
        gradient = tape.gradient(loss, table.value)
        assert isinstance(gradient, tf.IndexedSlices)
        optimizer.apply([gradient], [table])
    return table.numpy()


def test_touched_rows_move_as_under_keras_adam_and_others_stay() -> None:
    """Row 3 comes twice in the batch: its gradients are added before the moments see them."""
    lazy = minimise(LazyAdamW(0.1, weight_decay=0.0, global_clipnorm=5.0), [1, 3, 3], steps=3)
    dense = keras.optimizers.Adam(0.1)
    table = keras.Variable(np.arange(12, dtype=np.float32).reshape(6, 2))
    dense.build([table])
    for _ in range(3):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum((tf.gather(table.value, [1, 3, 3]) - 1.0) ** 2)
        gradient = tf.convert_to_tensor(tape.gradient(loss, table.value))
        scale = min(1.0, 5.0 / float(tf.norm(gradient)))
        dense.apply([gradient * scale], [table])
    np.testing.assert_allclose(lazy[[0, 2, 4, 5]], np.arange(12).reshape(6, 2)[[0, 2, 4, 5]])
    np.testing.assert_allclose(lazy, table.numpy(), rtol=1e-5)


def test_gradient_norm_is_that_before_clipping_with_each_row_once() -> None:
    optimizer = LazyAdamW(0.1, global_clipnorm=0.5)
    dense, table = (keras.Variable(np.zeros(shape, np.float32)) for shape in ((2,), (4, 1)))
    optimizer.build([dense, table])
    slices = tf.IndexedSlices(tf.constant([[1.0], [2.0], [4.0]]), tf.constant([0, 2, 0]))
    optimizer.apply([tf.constant([2.0, 4.0]), slices], [dense, table])
    assert float(optimizer.gradient_norm) == pytest.approx(np.sqrt(4 + 16 + 5**2 + 2**2))


def test_lamb_is_that_of_keras_for_matrices_and_lazy_for_tables() -> None:
    ours, theirs = LazyLamb(0.1), keras.optimizers.Lamb(0.1)
    start = np.arange(1.0, 7.0, dtype=np.float32).reshape(3, 2)
    a, b, table = keras.Variable(start), keras.Variable(start), keras.Variable(start)
    ours.build([a, table])
    theirs.build([b])
    slices = tf.IndexedSlices(tf.ones((1, 2)), tf.constant([1]), tf.constant([3, 2]))
    for _ in range(3):
        ours.apply([tf.constant(start), slices], [a, table])
        theirs.apply([tf.constant(start)], [b])
    np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6)
    np.testing.assert_array_equal(table.numpy()[[0, 2]], start[[0, 2]])
    assert (table.numpy()[1] < start[1]).all()


def test_rate_factor_zero_freezes() -> None:
    optimizer = LazyAdamW(0.1, weight_decay=0.0)
    frozen, free = keras.Variable(np.ones(3, np.float32)), keras.Variable(np.ones(3, np.float32))
    optimizer.build([frozen, free])
    optimizer.set_rate_factor([frozen], 0.0)
    optimizer.apply([tf.ones(3), tf.ones(3)], [frozen, free])
    np.testing.assert_array_equal(frozen.numpy(), 1.0)
    assert (free.numpy() < 1.0).all()


def test_weight_decay_leaves_out_what_it_is_told_to() -> None:
    optimizer = LazyAdamW(0.1, weight_decay=0.5)
    kept, decayed = keras.Variable(np.ones((2, 2), np.float32)), keras.Variable(np.ones((2, 2)))
    optimizer.exclude_from_weight_decay(var_list=[kept])
    optimizer.build([kept, decayed])
    optimizer.apply([tf.zeros((2, 2)), tf.zeros((2, 2))], [kept, decayed])
    np.testing.assert_array_equal(kept.numpy(), 1.0)
    np.testing.assert_allclose(decayed.numpy(), 1.0 - 0.1 * 0.5, atol=1e-6)


def test_warm_up_then_half_a_cosine() -> None:
    schedule = WarmupCosine(peak=2.0, num_steps=110, warmup_steps=10)
    values = [float(schedule(step)) for step in (0, 9, 60, 110, 500)]
    assert values == pytest.approx([0.2, 2.0, 1.0, 0.0, 0.0], abs=1e-6)
