"""Input tables written a batch of rows at a time, so that none is held in memory."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tfrs_sage.errors import InputError

ROWS_AT_ONCE = 8192


def write_table(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """Writes a Parquet file; returns its number of rows."""
    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)
            count += batch.num_rows
    return count


def row_batches(rows: Iterable[dict[str, Any]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Rows as record batches; a column that a row lacks is null."""
    rest = iter(rows)
    while group := list(islice(rest, ROWS_AT_ONCE)):
        yield pa.RecordBatch.from_pylist(group, schema)


def check_target(target: Path, mark: str, what: str) -> None:
    """Refuses to replace a folder that is not one of ours.

    Args:
        target: new, empty, or one that holds the file `mark`.
        mark: name of a file that folders of this kind hold.
        what: the folder holds, for the message.

    Raises:
        InputError: the folder holds something else.
    """
    if target.is_dir() and ((target / mark).is_file() or not any(target.iterdir())):
        return
    if target.exists():
        raise InputError(
            f"{what} is written into a new or empty folder, or over an earlier one. Found: "
            f"{target}, which holds something else. Name another folder."
        )
