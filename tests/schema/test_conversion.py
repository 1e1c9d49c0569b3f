"""Every file format's cells come out in one type, and a bad cell costs one row."""

import datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from tfrs_sage.schema.conversion import ARROW_TYPES, fits, from_arrow, from_values, parse_cell
from tfrs_sage.schema.tables import Kind

NOON = datetime.datetime(2026, 1, 31, 12, 0, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    "found,kind",
    [
        (pa.large_string(), Kind.TEXT),
        (pa.string_view(), Kind.ID),
        (pa.dictionary(pa.int32(), pa.string()), Kind.WORD),
        (pa.null(), Kind.TEXT),
        (pa.null(), Kind.IMAGES),
        (pa.list_(pa.null()), Kind.PATHS),
        (pa.large_list(pa.large_string()), Kind.PATHS),
        (pa.list_(pa.string()), Kind.TEXTS),
        (pa.list_(pa.float64(), 4), Kind.VECTOR),
        (pa.list_(pa.float16()), Kind.VECTOR),
        (pa.list_(pa.int64()), Kind.VECTOR),
        (pa.list_(pa.list_(pa.float64(), 256)), Kind.IMAGES),
        (pa.int8(), Kind.NUMBER),
        (pa.decimal128(5, 2), Kind.NUMBER),
        (pa.date32(), Kind.TIMESTAMP),
        (pa.timestamp("ns"), Kind.TIMESTAMP),
        (pa.string(), Kind.TIMESTAMP),
    ],
)
def test_types_that_fit_are_converted(found: pa.DataType, kind: Kind) -> None:
    assert fits(found, kind)
    array, faults = from_arrow(pa.nulls(3, found), kind)
    assert (array.type, len(array), array.null_count, faults) == (ARROW_TYPES[kind], 3, 3, [])


@pytest.mark.parametrize(
    "found,kind",
    [
        (pa.int64(), Kind.ID),
        (pa.binary(), Kind.TEXT),
        (pa.bool_(), Kind.NUMBER),
        (pa.string(), Kind.NUMBER),
        (pa.string(), Kind.PATHS),
        (pa.list_(pa.string()), Kind.VECTOR),
        (pa.list_(pa.bool_()), Kind.VECTOR),
        (pa.list_(pa.float32()), Kind.IMAGES),
        (pa.int64(), Kind.TIMESTAMP),
    ],
)
def test_types_that_do_not_fit(found: pa.DataType, kind: Kind) -> None:
    assert not fits(found, kind)


@pytest.mark.parametrize(
    "array,kind,expected",
    [
        (pa.array(["a", None, "a"]).dictionary_encode(), Kind.ID, ["a", None, "a"]),
        (pa.array([["a", "b"], None, []]), Kind.TEXTS, ["a b", None, ""]),
        (pa.array([Decimal("1.50"), None]), Kind.NUMBER, [1.5, None]),
        (pa.array([[1, 2], None]), Kind.VECTOR, [[1.0, 2.0], None]),
        (pa.array([[0.5, 2.0]], pa.list_(pa.float16(), 2)), Kind.VECTOR, [[0.5, 2.0]]),
        (pa.array([NOON], pa.timestamp("ms", tz="Asia/Tokyo")), Kind.TIMESTAMP, [NOON]),
        (pa.array([NOON.replace(tzinfo=None)]), Kind.TIMESTAMP, [NOON]),
        (pa.array(["2026-01-31T12:00:00Z", None]), Kind.TIMESTAMP, [NOON, None]),
        (pa.array(["2026-01-31 12:00:00"]), Kind.TIMESTAMP, [NOON]),
        (pa.array(["2026-01-31T12:00:00", "2026-01-31T13:00+01:00"]), Kind.TIMESTAMP, [NOON] * 2),
    ],
)
def test_values_are_kept(array: pa.Array, kind: Kind, expected: list) -> None:
    converted, faults = from_arrow(array, kind)
    assert (converted.to_pylist(), faults) == (expected, [])


def test_sliced_arrays() -> None:
    array = pa.array([[9.0, 9.0], [1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float64())).slice(1)
    assert from_arrow(array, Kind.VECTOR)[0].to_pylist() == [[1.0, 2.0], None, [3.0, 4.0]]


def test_bad_timestamps_are_faults() -> None:
    array, faults = from_arrow(pa.array(["2026-01-31", "soon", None, "2026-13-01"]), Kind.TIMESTAMP)
    assert [fault[:2] for fault in faults] == [(1, "'soon'"), (3, "'2026-13-01'")]
    assert array.is_valid().to_pylist() == [True, False, False, False]


@pytest.mark.parametrize("unit,value", [("s", 10**15), ("ms", -(10**17)), ("us", 2**62)])
def test_timestamps_beyond_the_calendar_are_faults(unit: str, value: int) -> None:
    array, faults = from_arrow(pa.array([0, value, None], pa.timestamp(unit)), Kind.TIMESTAMP)
    assert [fault[0] for fault in faults] == [1]
    assert array.is_valid().to_pylist() == [True, False, False]
    array.to_pylist()  # all that is left is a datetime


def _invalid_text() -> pa.Array:
    raw = pa.array([b"fine", b"\xff\xfe", None], pa.binary())
    return pa.Array.from_buffers(pa.string(), 3, raw.buffers())


def test_bytes_that_are_no_text_are_faults() -> None:
    array, faults = from_arrow(_invalid_text(), Kind.TEXT)
    assert array.to_pylist() == ["fine", None, None]
    assert [fault[0] for fault in faults] == [1]


@pytest.mark.parametrize(
    "kind,good,bad",
    [
        (Kind.TEXT, "x", [1, 1.5, True, ["x"], {"a": 1}, "\ud800"]),
        (Kind.TEXTS, ["x", "y"], [1, [1], {"a": 1}]),
        (Kind.PATHS, ["x"], ["x", 1, [1], [None], {"a": 1}]),
        (Kind.VECTOR, [1, 2.5], ["12", 1, [True], ["1"], [None], [[1]]]),
        (Kind.IMAGES, [[1, 2.5]], [[1.0], "x", [["1"]], [None]]),
        (Kind.NUMBER, 2, ["2", True, [2], 10**400]),
        (Kind.TIMESTAMP, "2026-01-31", [1_700_000_000, "", "x", "0001-01-01T00:00:00+05:00"]),
    ],
)
def test_python_values(kind: Kind, good: object, bad: list) -> None:
    array, faults = from_values([good, None, *bad], kind)
    assert array.type == ARROW_TYPES[kind]
    assert [fault[0] for fault in faults] == list(range(2, 2 + len(bad)))
    assert array.is_valid().to_pylist() == [True] + [False] * (1 + len(bad))


@pytest.mark.parametrize(
    "cell,kind,value",
    [
        ("", Kind.TEXT, None),
        ("null", Kind.TEXT, "null"),
        ("1", Kind.ID, "1"),
        ("1.5", Kind.NUMBER, 1.5),
        ("x", Kind.NUMBER, "x"),
        ('["a", "b"]', Kind.PATHS, ["a", "b"]),
        ("a.jpg", Kind.PATHS, "a.jpg"),
        ('["a", "b"]', Kind.TEXTS, ["a", "b"]),
        ("[sale] sofa", Kind.TEXTS, "[sale] sofa"),
        ("[[1, 2]]", Kind.IMAGES, [[1, 2]]),
    ],
)
def test_csv_cells(cell: str, kind: Kind, value: object) -> None:
    assert parse_cell(cell, kind) == value
