"""numpy arrays to tensors of the wire and back, without TensorFlow."""

import math
from typing import Any, NamedTuple

import numpy as np

from serving.wire_messages import Tensor


class _Type(NamedTuple):
    """A dtype of TensorFlow.

    Attributes:
        name: TensorFlow's.
        dtype: numpy's, little-endian.
        field: where its values are when they are not in `tensor_content`.
        part: what a value in that field is made of.
    """

    name: str
    dtype: str
    field: str
    part: str


_STRING, _BFLOAT16 = 7, 14
# By TensorFlow's number.
_TYPES = {
    1: _Type("float32", "<f4", "float_val", "<f4"),
    2: _Type("float64", "<f8", "double_val", "<f8"),
    3: _Type("int32", "<i4", "int_val", "<i4"),
    4: _Type("uint8", "u1", "int_val", "u1"),
    5: _Type("int16", "<i2", "int_val", "<i2"),
    6: _Type("int8", "i1", "int_val", "i1"),
    _STRING: _Type("string", "O", "string_val", "O"),
    8: _Type("complex64", "<c8", "scomplex_val", "<f4"),
    9: _Type("int64", "<i8", "int64_val", "<i8"),
    10: _Type("bool", "?", "bool_val", "?"),
    _BFLOAT16: _Type("bfloat16", "<u2", "half_val", "<u2"),  # as its bits: numpy has no such dtype
    17: _Type("uint16", "<u2", "int_val", "<u2"),
    18: _Type("complex128", "<c16", "dcomplex_val", "<f8"),
    19: _Type("half", "<f2", "half_val", "<u2"),
    22: _Type("uint32", "<u4", "uint32_val", "<u4"),
    23: _Type("uint64", "<u8", "uint64_val", "<u8"),
}
_NUMBERS = {
    np.dtype(one.dtype): number
    for number, one in _TYPES.items()
    if number not in (_STRING, _BFLOAT16)
}


def dtype_name(number: int) -> str:
    """TensorFlow's name of a dtype; `dtype 21` for one that is not known here."""
    return _TYPES[number].name if number in _TYPES else f"dtype {number}"


def to_tensor(value: Any) -> Any:
    """The message of what `np.asarray` takes.

    Args:
        value: numbers, bool, str (sent as UTF-8) or bytes; an array's dtype is kept. As in
            TensorFlow, Python's floats become float32 and its ints int32 where they fit.

    Raises:
        TypeError: what is neither; rows of different lengths are not.
    """
    array = _as_array(value)
    tensor = Tensor()
    tensor.tensor_shape.SetInParent()  # also of a scalar
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    if array.dtype.kind in "OSU":
        tensor.dtype = _STRING
        tensor.string_val.extend(_to_bytes(one) for one in array.ravel().tolist())
        return tensor
    array = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
    bfloat16 = array.dtype.name == "bfloat16"  # of the package ml_dtypes
    number = _BFLOAT16 if bfloat16 else _NUMBERS.get(array.dtype)
    if number is None:
        raise TypeError(
            f"an input must be of numbers, bool, str or bytes. Received: dtype {array.dtype}."
        )
    tensor.dtype = number
    tensor.tensor_content = array.tobytes()  # a copy of memory: nothing is encoded one by one
    return tensor


def _as_array(value: Any) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise TypeError(
            f"an input must be an array: rows of one length. Received: {value!r:.100}."
        ) from error
    if isinstance(value, (np.ndarray, np.generic)):
        return array
    if array.dtype.kind in "SU":
        return np.asarray(value, dtype=object)  # numpy's own strings lose zeros at their end
    if array.dtype == np.float64:
        return array.astype(np.float32)
    if array.dtype == np.int64:
        small = array.astype(np.int32)
        return small if np.array_equal(small, array) else array
    return array


def _to_bytes(one: Any) -> bytes:
    if isinstance(one, str):
        return one.encode()
    if isinstance(one, bytes):
        return one
    raise TypeError(
        "an input must be of numbers, bool, str or bytes, in rows of one length. Received: "
        f"{type(one).__name__} {one!r:.100}."
    )


def to_array(tensor: Any) -> np.ndarray:
    """The array of a message, in any of the spellings that TF Serving has.

    Returns:
        The tensor's shape and dtype; strings as an object array of bytes, bfloat16 as float32.

    Raises:
        ValueError: a dtype that is not known here, or values that do not fill the shape.
    """
    if tensor.dtype not in _TYPES:
        raise ValueError(f"an output must be of a known dtype. Received: dtype {tensor.dtype}.")
    kind = _TYPES[tensor.dtype]
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    if tensor.dtype == _STRING:
        texts = _strings(tensor, math.prod(shape))
        array = np.empty(len(texts), dtype=object)
        array[:] = texts
    elif tensor.tensor_content:
        array = np.frombuffer(tensor.tensor_content, kind.dtype).copy()
    else:
        array = np.array(getattr(tensor, kind.field), kind.part).view(kind.dtype)
    if array.size < math.prod(shape):  # the last value stands for those that are not there
        last = array[-1:] if array.size else np.zeros(1, array.dtype)
        array = np.concatenate([array, np.repeat(last, math.prod(shape) - array.size)])
    array = array.reshape(shape)
    if tensor.dtype == _BFLOAT16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _strings(tensor: Any, count: int) -> list[bytes]:
    if not tensor.tensor_content:
        found = list(tensor.string_val)
        return found or [b""] * count
    # All lengths as varints, then all bytes: `tensor::EncodeStringList` of TensorFlow.
    content, place, lengths = memoryview(tensor.tensor_content), 0, []
    for _ in range(count):
        length = shift = 0
        while True:
            byte = content[place]
            place += 1
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        lengths.append(length)
    texts = []
    for length in lengths:
        texts.append(bytes(content[place : place + length]))
        place += length
    if place != len(content):
        raise ValueError(
            f"{count} strings must fill `tensor_content`. Received: {len(content)} bytes where "
            f"they take {place}."
        )
    return texts
