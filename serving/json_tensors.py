"""Values of JSON to arrays, as TF Serving's REST predict API takes them.

References:
    TF Serving, `g3doc/api_rest.md` and `util/json_tensor.cc` for what is taken and its error texts.
"""

import base64
import binascii
import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from serving.errors import ServingError, invalid_argument
from serving.json_bodies import B64, is_object, kind, shown

Arrays = dict[str, np.ndarray]
Inputs = Mapping[str, Any]  # tensor infos of a signature by name
_FLOATS = {
    tf.float32: ("float", 2**24 - 1),
    tf.float64: ("double", 2**53 - 1),
}
_MAX_AXES = 64  # numpy's
# Smaller integers are sent as int32's; what does not fit is refused and not wrapped around.
_INTEGERS = (tf.int64, tf.int32, tf.int16, tf.int8, tf.uint8, tf.uint16, tf.uint32, tf.uint64)


def to_arrays(document: Mapping[str, Any], inputs: Inputs) -> Arrays:
    """The arrays of a request by input name, of the signature's dtypes; shapes are as they came.

    Args:
        document: the body, with `instances` (row by row) or `inputs` (by column).
        inputs: the inputs of its signature, one at least.

    Raises:
        ServingError: INVALID_ARGUMENT, none or both of the two, values that are not of the dtype,
            ragged lists, other names than the signature's.
    """
    if "instances" not in document:
        if "inputs" not in document:
            raise invalid_argument("Missing 'inputs' or 'instances' key")
        return _columns(document["inputs"], inputs)
    if "inputs" in document:
        raise invalid_argument(
            f"JSON Value: {shown(document)} Not formatted correctly expecting only one of "
            "'inputs' or 'instances' keys to exist "
        )
    rows = document["instances"]
    if not isinstance(rows, list):
        raise invalid_argument(
            f"JSON Value: {shown(document)} Expecting 'instances' to be an list/array"
        )
    if not rows:
        raise invalid_argument(f"JSON Value: {shown(document)} No values in 'instances' array")
    return _rows(rows, inputs)


def _rows(rows: Sequence[Any], inputs: Inputs) -> Arrays:
    if len(inputs) > 1 and not isinstance(rows[0], dict):
        raise invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map"
        )
    named = is_object(rows[0])
    columns: dict[str, list[np.ndarray]] = {name: [] for name in inputs}
    for place, row in enumerate(rows):
        if is_object(row) != named:
            wanted, found = ("object", "list") if named else ("value/list", "object")
            raise invalid_argument(
                f"Expecting {wanted} but got {found} at item {place} of input list"
            )
        for name, value in row.items() if named else ((next(iter(inputs)), row),):
            try:
                _add(columns, name, value, inputs)
            except ServingError as error:
                key = f" key: {name}" if named else ""
                raise invalid_argument(
                    f"Failed to process element: {place}{key} of 'instances' list. Error: "
                    f"{error.code.name}: {error.text}"
                ) from error
        if named and set(row) != set(inputs):
            raise invalid_argument(
                f"Failed to process element: {place} of 'instances' list. JSON object: "
                f"{shown(row)} keys must be equal to: {','.join(sorted(inputs))}"
            )
    return {name: np.stack(column) for name, column in columns.items()}


def _add(columns: dict[str, list[np.ndarray]], name: str, value: Any, inputs: Inputs) -> None:
    """One row's value to its column, of the shape of the rows before."""
    if name not in inputs:
        raise invalid_argument(f"JSON object: does not have named input: {name}")
    array, column = _tensor(value, inputs[name]), columns[name]
    if column and column[0].size != array.size:
        raise invalid_argument(f"Expecting tensor size: {column[0].size} but got: {array.size}")
    if column and column[0].shape != array.shape:
        raise invalid_argument(
            f"Expecting shape {_shape(column[0].shape)} but got: {_shape(array.shape)}"
        )
    column.append(array)


def _columns(payload: Any, inputs: Inputs) -> Arrays:
    if is_object(payload):
        for name in sorted(inputs):
            if name not in payload:
                raise invalid_argument(f"Missing named input: {name} in 'inputs' object.")
        return {name: _tensor(payload[name], info) for name, info in inputs.items()}
    if len(inputs) > 1:
        raise invalid_argument(
            "inputs is a plain value/list, but expecting an object as multiple input tensors "
            "required as per tensorinfo_map"
        )
    return {name: _tensor(payload, info) for name, info in inputs.items()}


def _tensor(value: Any, info: meta_graph_pb2.TensorInfo) -> np.ndarray:
    """A value or nested lists as an array; its shape is that of the first of each list."""
    leaves: list[Any] = [value]
    shape: list[int] = []
    while isinstance(leaves[0], list):
        level, size = len(shape), len(leaves[0])
        for one in leaves:
            if not isinstance(one, list):
                raise invalid_argument(
                    f"JSON Value: {shown(one)} found at incorrect level: {level + 1} in the "
                    f"JSON DOM. Expected at level: {_depth(leaves[0]) + level}"
                )
            if len(one) != size:
                raise invalid_argument(
                    f"Encountered list at unexpected size: {len(one)} at level: {level} "
                    f"expected size: {size}"
                )
        shape.append(size)
        if len(shape) > _MAX_AXES:
            raise invalid_argument(f"Lists may be nested {_MAX_AXES} deep. Received: deeper ones.")
        if size == 0:
            leaves = []
            break
        leaves = list(chain.from_iterable(leaves))
    if any(isinstance(leaf, list) for leaf in leaves):
        raise invalid_argument(
            f"Encountered list at unexpected level: {len(shape)} expected < {len(shape)}"
        )
    return _leaves(leaves, tf.dtypes.as_dtype(info.dtype)).reshape(shape)


def _depth(value: Any) -> int:
    """Levels of lists, by the first of each."""
    depth = 0
    while isinstance(value, list):
        depth, value = depth + 1, value[0] if value else None
    return depth


def _leaves(values: Sequence[Any], dtype: tf.DType) -> np.ndarray:
    """1-d array of JSON scalars."""
    if dtype == tf.string:
        array = np.empty(len(values), object)
        array[:] = [as_bytes(value) for value in values]
        return array
    if dtype in _FLOATS:
        return _floats(values, dtype)
    if dtype == tf.bool:
        _check_types(values, {bool}, dtype)
        return np.array(values, np.bool_)
    if dtype in _INTEGERS:
        _check_types(values, {int}, dtype)
        for value in values:
            if not dtype.min <= value <= dtype.max:
                raise _type_error(value, dtype)
        return np.array(values, dtype.as_numpy_dtype)
    text = f"Conversion of JSON Value: {shown(values)} to type: {dtype.name}"
    raise ServingError(grpc.StatusCode.UNIMPLEMENTED, text)


def _floats(values: Sequence[Any], dtype: tf.DType) -> np.ndarray:
    """Numbers that the dtype can hold: integers exactly, others within its range."""
    _check_types(values, {int, float}, dtype)
    name, largest = _FLOATS[dtype]
    highest = float(dtype.max)
    for value in values:
        exact = abs(value) <= largest if isinstance(value, int) else True
        if not exact or (math.isfinite(value) and abs(value) > highest):
            raise invalid_argument(
                f"Cannot convert JSON value: {shown(value)} to {name} without loss of precision."
            )
    return np.array(values, dtype.as_numpy_dtype)


def _check_types(values: Sequence[Any], allowed: set[type], dtype: tf.DType) -> None:
    if not set(map(type, values)) <= allowed:
        raise _type_error(next(v for v in values if type(v) not in allowed), dtype)


def as_bytes(value: Any) -> bytes:
    """A string's bytes, or what a `{"b64": ...}` stands for.

    Raises:
        ServingError: INVALID_ARGUMENT, neither of the two, or no base64.
    """
    if isinstance(value, str):
        return value.encode()
    if not isinstance(value, dict):
        raise _type_error(value, tf.string)
    if is_object(value):
        raise invalid_argument(
            f"JSON Value: {shown(value)} not formatted correctly for base64 data"
        )
    try:
        return base64.b64decode(value[B64], validate=True)
    except (binascii.Error, ValueError) as e:
        raise invalid_argument("Unable to base64 decode") from e


def _type_error(value: Any, dtype: tf.DType) -> ServingError:
    name = {tf.float32: "float", tf.float64: "double"}.get(dtype, dtype.name)
    return invalid_argument(
        f"JSON Value: {shown(value)} Type: {kind(value)} is not of expected type: {name}"
    )


def _shape(shape: Sequence[int]) -> str:
    return f"[{','.join(map(str, shape))}]"
