"""The sketch: never below the truth, within its bound, part of a compiled step."""

import numpy as np
import pytest
import tensorflow as tf

from tfrs_sage.losses import CountMinSketch


def zipf_stream(size: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    # Ids spread over 63 bits, as fingerprints are.
    return rng.zipf(1.3, size) % 50_000 * np.int64(982_451_653_982_451)


def test_never_undercounts_and_keeps_its_bound() -> None:
    width, depth = 4096, 2
    sketch, stream = CountMinSketch(width, depth), zipf_stream(100_000)
    for batch in np.array_split(stream, 10):
        sketch.update(tf.constant(batch))
    ids, true = np.unique(stream, return_counts=True)
    estimate = sketch(tf.constant(ids)).numpy()
    assert (estimate >= true).all()
    assert int(sketch.total) == len(stream)
    # More than 2 n / width too high with probability 2**-depth at most.
    assert np.mean(estimate - true > 2 * len(stream) / width) <= 2.0**-depth


def test_exact_where_wide() -> None:
    sketch, stream = CountMinSketch(2**20), zipf_stream(2000)
    sketch.update(tf.constant(stream))
    ids, true = np.unique(stream, return_counts=True)
    np.testing.assert_array_equal(sketch(tf.constant(ids)), true)


def test_counts_inside_a_compiled_step() -> None:
    sketch = CountMinSketch(1024)

    @tf.function
    def step(ids):
        sketch.update(ids)
        return sketch(ids)

    ids = tf.constant([5, 5, 8], tf.int64)
    assert step(ids).numpy().tolist() == [2, 2, 1]
    assert step(ids).numpy().tolist() == [4, 4, 2]


@pytest.mark.parametrize("width", [0, 1, 1000])
def test_width_must_be_a_power_of_two(width) -> None:
    with pytest.raises(ValueError, match=f"power of two.*Received: {width}"):
        CountMinSketch(width)
