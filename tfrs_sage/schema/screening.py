"""Which rows of a batch deserve a look: `check_row` as column arithmetic.

A row is picked exactly when `check_row` finds something in it (a test holds the two against each
other), so a million good rows cost a few column operations and no Python a row.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_sage.schema.conversion import ARROW_TYPES
from tfrs_sage.schema.features import IMAGE_DIM
from tfrs_sage.schema.rows import MALFORMED, is_action
from tfrs_sage.schema.tables import TABLES, Column, Kind

# `rows.is_inside_path` in RE2's words; RE2 has no look-around and needs none here.
_BAD_PATH = r"^\s*$|^/|^[A-Za-z]:|\\|://|(^|/)\.\.(/|$)"

# Positions of rows, in any order, possibly repeated.
Positions = np.ndarray


def suspicious_rows(table: str, batch: pa.RecordBatch, widths: Mapping[str, int]) -> list[int]:
    """Positions of the rows in which `check_row` finds a problem.

    Args:
        table: its name.
        batch: of a reader; columns whose type does not fit their kind are passed over, because
            the whole column is wrong then.
        widths: the width of each vector column.

    Returns:
        Positions within the batch, ascending.
    """
    spec = TABLES[table]
    picked: list[Positions] = []
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        if name == MALFORMED:
            picked.append(_positions(pc.is_valid(array)))
            continue
        column = spec.column(name)
        if column is None or array.type != ARROW_TYPES[column.kind]:
            continue
        if column.required and array.null_count:
            picked.append(_positions(pc.is_null(array)))
        screen = _SCREENS.get(column.kind)
        if screen is not None and array.null_count < len(array):
            picked.append(screen(array, column, widths.get(name)))
    if {"image_paths", "image_embeddings"} <= set(batch.schema.names):
        picked.append(_both_kinds_of_images(batch))
    if not picked:
        return []
    rows: list[int] = np.unique(np.concatenate(picked)).tolist()
    return rows


def _positions(mask: pa.Array) -> Positions:
    """Where a mask is true; null counts as false."""
    # Signed, because NumPy joins uint64 and int64 to float64, which indexes nothing.
    return pc.indices_nonzero(pc.fill_null(mask, False)).to_numpy().astype(np.int64)


def _blank(array: pa.Array, column: Column, width: int | None) -> Positions:
    return _positions(pc.equal(pc.binary_length(pc.utf8_trim_whitespace(array)), 0))


def _other_word(array: pa.Array, column: Column, width: int | None) -> Positions:
    known = pc.is_in(array, value_set=pa.array(column.values, pa.string()))
    return _positions(pc.and_(pc.is_valid(array), pc.invert(known)))


def _no_action(array: pa.Array, column: Column, width: int | None) -> Positions:
    distinct = pc.unique(array.drop_null()).to_pylist()  # few words, many rows
    bad = [word for word in distinct if not is_action(word)]
    return _positions(pc.is_in(array, value_set=pa.array(bad, pa.string())))


def _bad_path(array: pa.Array, column: Column, width: int | None) -> Positions:
    matched = pc.match_substring_regex(pc.list_flatten(array), _BAD_PATH)
    return _parents(array)[_positions(pc.fill_null(matched, True))]


def _no_number(array: pa.Array, column: Column, width: int | None) -> Positions:
    return _positions(pc.invert(pc.is_finite(array)))


def _bad_vector(array: pa.Array, column: Column, width: int | None) -> Positions:
    lengths = pc.list_value_length(array)
    wrong = pc.equal(lengths, 0) if width is None else pc.not_equal(lengths, width)
    return np.concatenate([_positions(wrong), _parents(array)[_not_finite(array)]])


def _bad_images(array: pa.Array, column: Column, width: int | None) -> Positions:
    images = pc.list_flatten(array)
    narrow = pc.fill_null(pc.not_equal(pc.list_value_length(images), IMAGE_DIM), True)
    broken = np.concatenate([_positions(narrow), _parents(images)[_not_finite(images)]])
    return _parents(array)[broken]


def _parents(array: pa.Array) -> np.ndarray:
    """The row that each flattened element belongs to."""
    return pc.list_parent_indices(array).to_numpy()


def _not_finite(array: pa.Array) -> Positions:
    """Positions among the flattened elements that are null, infinite or no number."""
    finite = pc.fill_null(pc.is_finite(pc.list_flatten(array)), False)
    return _positions(pc.invert(finite))


def _both_kinds_of_images(batch: pa.RecordBatch) -> Positions:
    paths, vectors = batch.column("image_paths"), batch.column("image_embeddings")
    if not (pa.types.is_list(paths.type) and pa.types.is_list(vectors.type)):
        return np.zeros(0, np.int64)
    return _positions(
        pc.and_(
            pc.greater(pc.list_value_length(paths), 0),
            pc.greater(pc.list_value_length(vectors), 0),
        )
    )


_SCREENS: Mapping[Kind, Callable[[pa.Array, Column, int | None], Positions]] = {
    Kind.ID: _blank,
    Kind.WORD: _other_word,
    Kind.ACTION: _no_action,
    Kind.PATHS: _bad_path,
    Kind.NUMBER: _no_number,
    Kind.VECTOR: _bad_vector,
    Kind.IMAGES: _bad_images,
}
