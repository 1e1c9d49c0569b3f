"""What is wrong with one row, told in full: the table, the row, the column, found, expected.

Only what a row alone can show is judged here, so that a distributed job may call it on every
worker; duplicate ids, references and image files need the other rows (`schema.validation`).
"""

import datetime
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tfrs_sage.schema.features import IMAGE_DIM
from tfrs_sage.schema.tables import TABLES, Column, Kind

# A column that readers add to a batch when cells could not be read: JSON text
# `[[column, found, expected], ...]` in the rows concerned, null in all others.
MALFORMED = "__malformed__"
_SHOWN = 120  # characters of a found value

_NO_WORD = re.compile(r"[/\s]")
_PATH_OUT = re.compile(r"^/|^[A-Za-z]:|\\|://|(^|/)\.\.(/|$)")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with the tables.

    Attributes:
        table: its name.
        row: 1-based data row within the file; None when the whole column or file is meant.
        column: its name; empty when the row or the file as a whole is meant.
        found: the value, shortened.
        expected: the rule.
        source: the file.
        kind: what sort of problem: `missing`, `type`, `value`, `width`, `finite`, `duplicate`,
            `reference`, `image`, `file`.
    """

    table: str
    row: int | None
    column: str
    found: str
    expected: str
    source: str = ""
    kind: str = "value"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        place = [f"table {self.table}"]
        if self.row is not None:
            place.append(f"row {self.row}")
        if self.column:
            place.append(f"column {self.column}")
        source = f" ({self.source})" if self.source else ""
        return f"{', '.join(place)}{source}: found {self.found}, expected {self.expected}"


def shown(value: Any) -> str:
    """A value as an error message shows it: its repr, cut after 120 characters."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def is_action(value: str) -> bool:
    """True for a word that may stand in a task's name: not empty, no slash, no white space."""
    return bool(value) and _NO_WORD.search(value) is None


def is_inside_path(path: str) -> bool:
    """True for a relative path with forward slashes that does not leave the folder."""
    return bool(path.strip()) and _PATH_OUT.search(path) is None


# What a check returns: (kind of problem, found, expected), or None when the value is right.
Fault = tuple[str, str, str] | None


def _check_id(value: Any, column: Column, width: int | None) -> Fault:
    if not isinstance(value, str):
        return "type", shown(value), column.expected
    if not value.strip():
        return "missing", shown(value), column.expected
    return None


def _check_text(value: Any, column: Column, width: int | None) -> Fault:
    return None if isinstance(value, str) else ("type", shown(value), column.expected)


def _check_word(value: Any, column: Column, width: int | None) -> Fault:
    if not isinstance(value, str):
        return "type", shown(value), column.expected
    return None if value in column.values else ("value", shown(value), column.expected)


def _check_action(value: Any, column: Column, width: int | None) -> Fault:
    if not isinstance(value, str):
        return "type", shown(value), column.expected
    return None if is_action(value) else ("value", shown(value), column.expected)


def _check_paths(value: Any, column: Column, width: int | None) -> Fault:
    if not isinstance(value, list) or not all(isinstance(path, str) for path in value):
        return "type", shown(value), column.expected
    for path in value:
        if not is_inside_path(path):
            return "value", shown(path), "a path relative to the folder, inside it, with /"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_number(value: Any, column: Column, width: int | None) -> Fault:
    if not _is_number(value):
        return "type", shown(value), column.expected
    return None if math.isfinite(value) else ("finite", shown(value), column.expected)


def _check_vector(value: Any, column: Column, width: int | None) -> Fault:
    if not isinstance(value, list) or not all(map(_is_number, value)):
        return "type", shown(value), column.expected
    if not value or (width is not None and len(value) != width):
        expected = f"width {width}" if width else "at least one value"
        return "width", f"a vector of width {len(value)}", expected
    for position, number in enumerate(value):
        if not math.isfinite(number):
            return "finite", f"{number} at position {position}", "finite values"
    return None


def _check_images(value: Any, column: Column, width: int | None) -> Fault:
    if not isinstance(value, list):
        return "type", shown(value), column.expected
    for number, vector in enumerate(value):
        fault = _check_vector(vector, column, IMAGE_DIM)
        if fault is not None:
            return fault[0], f"{fault[1]} in image {number}", fault[2]
    return None


def _check_timestamp(value: Any, column: Column, width: int | None) -> Fault:
    if isinstance(value, datetime.datetime):
        return None
    return "type", shown(value), column.expected


_CHECKS: Mapping[Kind, Callable[[Any, Column, int | None], Fault]] = {
    Kind.ID: _check_id,
    Kind.TEXT: _check_text,
    Kind.TEXTS: _check_text,
    Kind.WORD: _check_word,
    Kind.ACTION: _check_action,
    Kind.PATHS: _check_paths,
    Kind.IMAGES: _check_images,
    Kind.VECTOR: _check_vector,
    Kind.NUMBER: _check_number,
    Kind.TIMESTAMP: _check_timestamp,
}


def check_row(
    table: str,
    row: Mapping[str, Any],
    number: int | None = None,
    source: str = "",
    widths: Mapping[str, int] | None = None,
) -> list[Problem]:
    """Everything that is wrong with one row, as far as the row alone shows it.

    Args:
        table: its name, a key of `TABLES`.
        row: values by column as a reader gives them (`RecordBatch.to_pylist`); unknown columns
            are ignored, an absent one counts as null.
        number: 1-based data row, for the messages.
        source: the file, for the messages.
        widths: the width of each vector column; a column that is not named may have any.

    Returns:
        The problems; empty for a good row.
    """
    spec = TABLES[table]
    malformed = json.loads(row[MALFORMED]) if row.get(MALFORMED) else []
    problems = [
        Problem(table, number, column, found, expected, source, "type")
        for column, found, expected in malformed
    ]
    unreadable = {column for column, _, _ in malformed}
    if "" in unreadable:  # the whole row: its cells are null for that reason only
        return problems
    for name in dict.fromkeys((*spec.required_columns, *row)):
        column = spec.column(name)
        if column is None or name in unreadable:
            continue
        value = row.get(name)
        if value is None:
            if column.required:
                expected = column.expected
                problems.append(Problem(table, number, name, "null", expected, source, "missing"))
            continue
        fault = _CHECKS[column.kind](value, column, (widths or {}).get(name))
        if fault is not None:
            kind, found, expected = fault
            problems.append(Problem(table, number, name, found, expected, source, kind))
    if _has_images(row, "image_paths") and _has_images(row, "image_embeddings"):
        problems.append(
            Problem(
                table,
                number,
                "image_embeddings",
                "image_paths and image_embeddings in one row",
                "one of the two, or it is unclear which images are meant",
                source,
                "image",
            )
        )
    return problems


def _has_images(row: Mapping[str, Any], column: str) -> bool:
    value = row.get(column)
    return isinstance(value, Sequence) and len(value) > 0
