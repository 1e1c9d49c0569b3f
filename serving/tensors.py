"""Tensor protos to numpy and back, in both of their spellings."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from serving.errors import invalid_argument

# A proto may ask for a huge tensor in a few bytes (one value, repeated). No message can carry
# more than 2 GiB - 1 bytes, so neither may what it stands for.
_MAX_BYTES = 2**31 - 1

# Where each dtype's values live when they are not in `tensor_content`.
_FIELDS: dict[tf.DType, tuple[str, Callable[[np.ndarray], Any]]] = {
    tf.int64: ("int64_val", np.ndarray.tolist),
    tf.uint32: ("uint32_val", np.ndarray.tolist),
    tf.uint64: ("uint64_val", np.ndarray.tolist),
    tf.bool: ("bool_val", np.ndarray.tolist),
    tf.string: ("string_val", np.ndarray.tolist),
    tf.half: ("half_val", lambda values: values.view(np.uint16).tolist()),
    tf.bfloat16: ("half_val", lambda values: values.view(np.uint16).tolist()),
    **{
        dtype: ("int_val", np.ndarray.tolist)
        for dtype in (tf.int32, tf.int16, tf.int8, tf.uint16, tf.uint8)
    },
}
# Floats are in memory as they are on the wire, so that none need be looked at: the number of their
# field, and how they lie there.
_FLOATS = {tf.float32: (5, "<f4"), tf.float64: (6, "<f8")}


def from_proto(alias: str, proto: tensor_pb2.TensorProto) -> np.ndarray:
    """The array of a request's tensor; strings as an object array of bytes.

    Raises:
        ServingError: INVALID_ARGUMENT, what came is no tensor.
    """
    try:
        dtype = tf.dtypes.as_dtype(proto.dtype)
        dims = [dim.size for dim in proto.tensor_shape.dim]
        if proto.tensor_shape.unknown_rank or min(dims, default=0) < 0:
            raise ValueError("the shape has unknown dimensions")
        if math.prod(dims) * max(1, dtype.size or 1) > _MAX_BYTES:
            raise ValueError("the tensor is larger than any message can be")
        array: np.ndarray = tf.make_ndarray(proto)
    except (TypeError, ValueError) as e:
        raise invalid_argument(f"tensor parsing error: {alias}") from e
    return array


def to_proto(array: np.ndarray, as_content: bool = False) -> tensor_pb2.TensorProto:
    """An answer's tensor with its values in the typed fields, as TF Serving sends them.

    Args:
        array: the values.
        as_content: the values as bytes instead, which are quicker to read; not those of strings.
    """
    dtype = tf.string if array.dtype.kind in "OSU" else tf.dtypes.as_dtype(array.dtype)
    if (dtype not in _FIELDS and dtype not in _FLOATS) or as_content:
        return tf.make_tensor_proto(array)
    proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum)
    for size in array.shape:
        proto.tensor_shape.dim.add().size = size
    if dtype in _FLOATS:
        number, layout = _FLOATS[dtype]
        data = np.ascontiguousarray(array, layout).tobytes()
        proto.MergeFromString(bytes([number << 3 | 2]) + _varint(len(data)) + data)
        return proto
    field, values = _FIELDS[dtype]
    getattr(proto, field).extend(values(np.ascontiguousarray(array).ravel()))
    return proto


def _varint(number: int) -> bytes:
    """A length as the wire has it: seven bits a byte, the lowest first."""
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
