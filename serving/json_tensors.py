"""Bodies of TF Serving's REST predict API to arrays.

References:
    TF Serving, `g3doc/api_rest.md` and `util/json_tensor.cc` for what is taken and its error texts.
"""

import base64
import binascii
import json
import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from serving.errors import ServingError, invalid_argument

Arrays = dict[str, np.ndarray]
Inputs = Mapping[str, Any]  # tensor infos of a signature by name
B64 = "b64"
_SHOWN = 256  # bytes of a refused value that the error repeats
_FLOATS = {
    tf.float32: ("float", 2**24 - 1),
    tf.float64: ("double", 2**53 - 1),
}
# Smaller integers are sent as int32's; what does not fit is refused and not wrapped around.
_INTEGERS = (tf.int64, tf.int32, tf.int16, tf.int8, tf.uint8, tf.uint16, tf.uint32, tf.uint64)


class Body(NamedTuple):
    """A predict request: its signature's name (empty for the default) and its one payload."""

    signature_name: str
    by_row: bool
    payload: Any


def parse_body(text: bytes) -> Body:
    """The members of a predict request.

    Args:
        text: JSON in UTF-8; what follows the first value is not looked at, NaN and Infinity are
            numbers.

    Raises:
        ServingError: INVALID_ARGUMENT, with TF Serving's words where it has some.
    """
    document = _parse(text)
    if not isinstance(document, dict):
        raise invalid_argument(f"JSON Value: {_shown(document)} Is not object")
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid_argument(
            f"JSON Value: {_shown(document)} not formatted correctly. 'signature_name' key must "
            "be a string value."
        )
    if "instances" in document and "inputs" in document:
        raise invalid_argument(
            f"JSON Value: {_shown(document)} Not formatted correctly expecting only one of "
            "'inputs' or 'instances' keys to exist "
        )
    if "inputs" in document:
        return Body(name, False, document["inputs"])
    if "instances" not in document:
        raise invalid_argument("Missing 'inputs' or 'instances' key")
    rows = document["instances"]
    if not isinstance(rows, list):
        raise invalid_argument(
            f"JSON Value: {_shown(document)} Expecting 'instances' to be an list/array"
        )
    if not rows:
        raise invalid_argument(f"JSON Value: {_shown(document)} No values in 'instances' array")
    return Body(name, True, rows)


def _parse(text: bytes) -> Any:
    if not text.strip():
        raise invalid_argument("JSON Parse error: The document is empty")
    try:
        characters = text.decode("utf-8-sig")
        start = len(characters) - len(characters.lstrip(" \t\r\n"))
        return json.JSONDecoder().raw_decode(characters, start)[0]
    except json.JSONDecodeError as e:
        raise invalid_argument(f"JSON Parse error: {e.msg} at offset: {e.pos}") from e
    except UnicodeDecodeError as e:
        raise invalid_argument(f"JSON Parse error: not UTF-8 at offset: {e.start}") from e
    except RecursionError as e:
        raise invalid_argument("JSON Parse error: nested too deeply at offset: 0") from e
    except ValueError as e:  # an integer of thousands of digits
        raise invalid_argument(f"JSON Parse error: {e} at offset: 0") from e


def to_arrays(body: Body, inputs: Inputs) -> Arrays:
    """The arrays of a request by input name, of the signature's dtypes; shapes are as they came.

    Args:
        body: the request.
        inputs: the inputs of its signature, one at least.

    Raises:
        ServingError: INVALID_ARGUMENT, values that are not of the dtype, ragged lists, other
            names than the signature's.
    """
    return _rows(body.payload, inputs) if body.by_row else _columns(body.payload, inputs)


def _rows(rows: Sequence[Any], inputs: Inputs) -> Arrays:
    if len(inputs) > 1 and not isinstance(rows[0], dict):
        raise invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map"
        )
    named = _is_object(rows[0])
    columns: dict[str, list[np.ndarray]] = {name: [] for name in inputs}
    for place, row in enumerate(rows):
        if _is_object(row) != named:
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
                f"{_shown(row)} keys must be equal to: {','.join(sorted(inputs))}"
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
    if _is_object(payload):
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
                    f"JSON Value: {_shown(one)} found at incorrect level: {level + 1} in the "
                    f"JSON DOM. Expected at level: {_depth(leaves[0]) + level}"
                )
            if len(one) != size:
                raise invalid_argument(
                    f"Encountered list at unexpected size: {len(one)} at level: {level} "
                    f"expected size: {size}"
                )
        shape.append(size)
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
        array[:] = [_bytes(value) for value in values]
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
    text = f"Conversion of JSON Value: {_shown(values)} to type: {dtype.name}"
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
                f"Cannot convert JSON value: {_shown(value)} to {name} without loss of precision."
            )
    return np.array(values, dtype.as_numpy_dtype)


def _check_types(values: Sequence[Any], allowed: set[type], dtype: tf.DType) -> None:
    if not set(map(type, values)) <= allowed:
        raise _type_error(next(v for v in values if type(v) not in allowed), dtype)


def _bytes(value: Any) -> bytes:
    """A string's bytes, or what a `{"b64": ...}` stands for."""
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError as e:
            text = f"JSON Parse error: the surrogate pair in {_shown(value)} is invalid"
            raise invalid_argument(text) from e
    if not isinstance(value, dict):
        raise _type_error(value, tf.string)
    if _is_object(value):
        raise invalid_argument(
            f"JSON Value: {_shown(value)} not formatted correctly for base64 data"
        )
    try:
        return base64.b64decode(value[B64], validate=True)
    except (binascii.Error, ValueError) as e:
        raise invalid_argument("Unable to base64 decode") from e


def _is_object(value: Any) -> bool:
    """Whether a value is an object that stands for itself and not for bytes."""
    is_bytes = isinstance(value, dict) and len(value) == 1 and isinstance(value.get(B64), str)
    return isinstance(value, dict) and not is_bytes


_KINDS = {dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}


def _type_error(value: Any, dtype: tf.DType) -> ServingError:
    # What JSON has besides these: true, false and null.
    kind = _KINDS.get(type(value)) or {True: "True", False: "False", None: "Null"}[value]
    name = {tf.float32: "float", tf.float64: "double"}.get(dtype, dtype.name)
    return invalid_argument(
        f"JSON Value: {_shown(value)} Type: {kind} is not of expected type: {name}"
    )


def _shown(value: Any) -> str:
    """A value for an error, cut before it is long: the encoder stops where the text is enough."""
    text = ""
    try:
        for piece in json.JSONEncoder().iterencode(value):
            text += piece[:_SHOWN]
            if len(text) >= _SHOWN:
                break
    except RecursionError:
        text += "..."
    return text[:_SHOWN]


def _shape(shape: Sequence[int]) -> str:
    return f"[{','.join(map(str, shape))}]"
