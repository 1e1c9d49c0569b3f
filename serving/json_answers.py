"""Arrays to bodies of TF Serving's REST predict API.

References:
    TF Serving, `g3doc/api_rest.md` and `util/json_tensor.cc`. Numbers are written with the fewest
    digits that give the same number back; TF Serving writes six, or nine.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from serving.errors import invalid_argument
from serving.json_bodies import B64

_BYTES_SUFFIX = "_bytes"  # outputs of such names are sent in base64


def to_body(outputs: Mapping[str, np.ndarray], by_row: bool) -> bytes:
    """A predict answer: `predictions` with one value or object a row, or `outputs` by name.

    Args:
        outputs: arrays by name, one at least; strings as arrays of bytes.
        by_row: as the request was written.

    Raises:
        ServingError: INVALID_ARGUMENT, by row, where the outputs are not of one first dimension.
    """
    names = sorted(outputs)
    if by_row:
        _check_batch(outputs)
    values = {name: _values(name, outputs[name]) for name in names}
    if not by_row:
        return _encoded({"outputs": values if len(names) > 1 else values[names[0]]})
    if len(names) == 1:
        return _encoded({"predictions": values[names[0]]})
    rows = zip(*values.values(), strict=True)
    return _encoded({"predictions": [dict(zip(names, row, strict=True)) for row in rows]})


def _check_batch(outputs: Mapping[str, np.ndarray]) -> None:
    expected: int | None = None
    for name, array in sorted(outputs.items()):
        if array.ndim == 0:
            raise invalid_argument(f"Tensor name: {name} has no shape information ")
        if expected is not None and len(array) != expected:
            raise invalid_argument(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: "
                f"{expected}"
            )
        expected = len(array)


def _values(name: str, array: np.ndarray) -> Any:
    """Nested lists of what JSON has; a single value where the array has no axes."""
    if array.dtype.kind in "OSU":
        encode = _in_base64 if name.endswith(_BYTES_SUFFIX) else _text
        listed = np.empty(array.size, object)
        listed[:] = [encode(value) for value in array.ravel()]
        return listed.reshape(array.shape).tolist()
    return plain_values(array)


def plain_values(array: np.ndarray) -> Any:
    """Nested lists of numbers or booleans, with the fewest digits that give them back."""
    if tf.dtypes.as_dtype(array.dtype).is_floating and array.dtype != np.float64:
        # By way of their shortest decimals: 0.2 as float32 is to be told as 0.2.
        return array.astype(np.float32).astype(str).astype(np.float64).tolist()
    return array.tolist()


def _text(value: bytes) -> str:
    """A string to be sent as it is, also where it is not UTF-8 (see `_encoded`)."""
    return value.decode("utf-8", "surrogateescape")


def _in_base64(value: bytes) -> dict[str, str]:
    return {B64: base64.b64encode(value).decode()}


def _encoded(message: dict[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogateescape")
