"""Answers as protos: the typed fields of TF Serving, value by value."""

import numpy as np
import pytest
import tensorflow as tf

from serving.tensors import from_proto, to_proto


@pytest.mark.parametrize("shape", [(), (0, 3), (3,), (2, 50), (700, 100)])
@pytest.mark.parametrize(("dtype", "field"), [("float32", "float_val"), ("float64", "double_val")])
def test_floats_are_in_their_field(shape, dtype, field) -> None:
    values = np.random.default_rng(0).normal(size=shape).astype(dtype)
    if values.size:
        values.flat[0] = np.inf
    proto = to_proto(values)
    assert list(getattr(proto, field)) == values.ravel().tolist()
    assert proto.tensor_content == b"" and [d.size for d in proto.tensor_shape.dim] == [*shape]
    again = type(proto).FromString(proto.SerializeToString())
    for back in (tf.make_ndarray(again), from_proto("x", again)):
        np.testing.assert_array_equal(back, values)
        assert back.dtype == values.dtype


def test_a_view_is_read_in_its_own_order() -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4).T[::2]
    np.testing.assert_array_equal(tf.make_ndarray(to_proto(values)), values)
