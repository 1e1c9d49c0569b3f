"""CSV files read in blocks, with the columns that an adapter needs, every cell a string."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import csv

from tfrs_sage.errors import InputError

BLOCK_BYTES = 8 * 2**20


def csv_batches(
    path: Path, columns: Sequence[str], delimiter: str = ","
) -> Iterator[pa.RecordBatch]:
    """Some columns of a CSV file, all as strings, empty where absent, a block at a time.

    Raises:
        InputError: a column is missing, or a line has too many or too few cells.
    """
    try:
        with csv.open_csv(
            path,
            csv.ReadOptions(block_size=BLOCK_BYTES),
            csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()),
                include_columns=list(columns),
                strings_can_be_null=False,
            ),
        ) as reader:
            yield from reader
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise InputError(
            f"{path} must be the file of the data set, with the columns {', '.join(columns)}. "
            f"Found: {error}"
        ) from error


def csv_rows(path: Path, columns: Sequence[str], delimiter: str = ",") -> Iterator[dict[str, str]]:
    """The rows of `csv_batches` as dicts."""
    for batch in csv_batches(path, columns, delimiter):
        yield from batch.to_pylist()
