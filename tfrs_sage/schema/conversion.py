"""One Arrow type a kind of column, whatever file format the cells came from.

A cell that cannot be brought to its kind becomes null and a *fault*, so that one bad cell costs
one row and not the batch. Booleans are no numbers, numbers are no texts.
"""

import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tfrs_sage.schema.rows import shown
from tfrs_sage.schema.tables import EXPECTED, Kind

_VECTOR_TYPE = pa.list_(pa.float32())
ARROW_TYPES: Mapping[Kind, pa.DataType] = {
    Kind.ID: pa.string(),
    Kind.TEXT: pa.string(),
    Kind.TEXTS: pa.string(),
    Kind.WORD: pa.string(),
    Kind.ACTION: pa.string(),
    Kind.PATHS: pa.list_(pa.string()),
    Kind.IMAGES: pa.list_(_VECTOR_TYPE),
    Kind.VECTOR: _VECTOR_TYPE,
    Kind.NUMBER: pa.float64(),
    Kind.TIMESTAMP: pa.timestamp("us", tz="UTC"),
}
LIST_KINDS = (Kind.PATHS, Kind.IMAGES, Kind.VECTOR)

# (position in the batch, found, expected)
Fault = tuple[int, str, str]

# Years 1 to 9999 in seconds: what Python's datetime, and so every later step, can hold.
_FIRST_SECOND = -62_135_596_800
_LAST_SECOND = 253_402_300_799
_TICKS = {"s": 1, "ms": 10**3, "us": 10**6}


def fits(found: pa.DataType, kind: Kind) -> bool:
    """True when a column of this Arrow type can be read as this kind."""
    if pa.types.is_dictionary(found):
        found = found.value_type
    if pa.types.is_null(found):
        return True
    if kind is Kind.PATHS:
        return _is_list_of(found, _is_text)
    if kind is Kind.TEXTS:
        return _is_text(found) or _is_list_of(found, _is_text)
    if kind is Kind.VECTOR:
        return _is_list_of(found, _is_numeric)
    if kind is Kind.IMAGES:
        return _is_list_of(found, lambda inner: _is_list_of(inner, _is_numeric))
    if kind is Kind.NUMBER:
        return _is_numeric(found) or pa.types.is_decimal(found)
    if kind is Kind.TIMESTAMP:
        return pa.types.is_timestamp(found) or pa.types.is_date(found) or _is_text(found)
    return _is_text(found)


def _is_text(found: pa.DataType) -> bool:
    types = pa.types
    return types.is_string(found) or types.is_large_string(found) or types.is_string_view(found)


def _is_numeric(found: pa.DataType) -> bool:
    return pa.types.is_integer(found) or pa.types.is_floating(found)


def _is_list_of(found: pa.DataType, inner: Callable[[pa.DataType], bool]) -> bool:
    types = pa.types
    is_list = types.is_list(found) or types.is_large_list(found) or types.is_fixed_size_list(found)
    return is_list and (types.is_null(found.value_type) or inner(found.value_type))


def from_arrow(array: pa.Array, kind: Kind) -> tuple[pa.Array, list[Fault]]:
    """A column of a type that `fits`, as the Arrow type of its kind.

    Args:
        array: the column as the file holds it.
        kind: what the schema says of it.

    Returns:
        The column, null at the faults; the faults.
    """
    target = ARROW_TYPES[kind]
    if _has_invalid_utf8(array):
        return from_values(_decoded(array), kind)
    if kind is Kind.TIMESTAMP and not pa.types.is_null(array.type):
        return _timestamps(array)
    if kind is Kind.TEXTS and pa.types.is_nested(array.type):
        return from_values(array.to_pylist(), kind)
    return (array if array.type == target else array.cast(target, safe=False)), []


def _has_invalid_utf8(array: pa.Array) -> bool:
    if pa.types.is_nested(array.type) and not _is_list_of(array.type, _is_text):
        return False  # lists of numbers: nothing to decode
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        return True
    return False


def _decoded(array: pa.Array) -> list[Any]:
    """The values of a column of texts, invalid bytes as lone surrogates, which are a fault."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_nested(array.type):
        raw = array.cast(pa.list_(pa.binary())).to_pylist()
        return [
            cells and [cell and cell.decode("utf-8", "surrogateescape") for cell in cells]
            for cells in raw
        ]
    raw = array.cast(pa.binary()).to_pylist()
    return [cell and cell.decode("utf-8", "surrogateescape") for cell in raw]


def _timestamps(array: pa.Array) -> tuple[pa.Array, list[Fault]]:
    target = ARROW_TYPES[Kind.TIMESTAMP]
    if not pa.types.is_timestamp(array.type):
        if pa.types.is_date(array.type):
            # Days beyond year 9999 overflow microseconds; seconds hold every date.
            return _timestamps(array.cast(pa.timestamp("s")))
        for attempt in (target, pa.timestamp("us")):  # all with an offset, or all without
            try:
                return _timestamps(array.cast(attempt))
            except pa.ArrowInvalid:
                continue
        return from_values(array.to_pylist(), Kind.TIMESTAMP)
    if array.type.unit == "ns":  # 64 bits of nanoseconds end in the year 2262
        return array.cast(target, safe=False), []
    ticks = _TICKS[array.type.unit]
    numbers = array.cast(pa.int64())
    outside = pc.or_(
        pc.less(numbers, _FIRST_SECOND * ticks),
        pc.greater(numbers, (_LAST_SECOND + 1) * ticks - 1),
    )
    faults = [
        (position, f"{numbers[position].as_py()} {array.type.unit} since 1970", "year 1 to 9999")
        for position in pc.indices_nonzero(pc.fill_null(outside, False)).to_pylist()
    ]
    inside = pc.if_else(outside, pa.scalar(None, array.type), array) if faults else array
    return inside.cast(target, safe=False), faults


def from_values(values: Sequence[Any], kind: Kind) -> tuple[pa.Array, list[Fault]]:
    """Python values (from JSON or a CSV cell) as the Arrow type of their kind.

    Args:
        values: one a row, None for null.
        kind: what the schema says of the column.

    Returns:
        The column, null at the faults; the faults.
    """
    target = ARROW_TYPES[kind]
    if pa.types.is_string(target) and kind is not Kind.TEXTS:
        # Only strings convert to strings without a word: no check of each value is needed.
        try:
            return pa.array(values, type=target), []
        except (TypeError, ValueError):
            pass  # some cell is no text: find out which, below
    kept: list[Any] = []
    faults: list[Fault] = []
    for position, value in enumerate(values):
        try:
            kept.append(None if value is None else _CONVERT[kind](value))
        except (TypeError, ValueError, OverflowError):
            kept.append(None)
            faults.append((position, shown(value), EXPECTED[kind]))
    return pa.array(kept, type=target), faults


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    value.encode()  # a lone surrogate is no text: UnicodeEncodeError is a ValueError
    return value


def _texts(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(_text(item) for item in value if item is not None)
    return _text(value)


def _paths(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise TypeError(value)
    return [_text(item) for item in value]


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(value)
    return float(value)


def _vector(value: Any) -> list[float]:
    if not isinstance(value, list):
        raise TypeError(value)
    return [_number(item) for item in value]


def _images(value: Any) -> list[list[float]]:
    if not isinstance(value, list):
        raise TypeError(value)
    return [_vector(item) for item in value]


def _timestamp(value: Any) -> datetime.datetime:
    moment = datetime.datetime.fromisoformat(_text(value).strip())
    if moment.tzinfo is None:
        return moment.replace(tzinfo=datetime.UTC)
    return moment.astimezone(datetime.UTC)


_CONVERT: Mapping[Kind, Callable[[Any], Any]] = {
    Kind.ID: _text,
    Kind.TEXT: _text,
    Kind.TEXTS: _texts,
    Kind.WORD: _text,
    Kind.ACTION: _text,
    Kind.PATHS: _paths,
    Kind.IMAGES: _images,
    Kind.VECTOR: _vector,
    Kind.NUMBER: _number,
    Kind.TIMESTAMP: _timestamp,
}


def parse_cell(cell: str, kind: Kind) -> Any:
    """The value of a CSV cell: empty is null, a list is JSON text, a number is a number.

    A cell that cannot be parsed is given back as it is: `from_values` then makes it a fault.
    """
    if cell == "":
        return None
    try:
        if kind is Kind.NUMBER:
            return float(cell)
        if kind in LIST_KINDS or (kind is Kind.TEXTS and cell.lstrip().startswith("[")):
            return json.loads(cell)
    except (ValueError, RecursionError):
        return cell
    return cell
