"""The input tables as batches of rows, from Parquet, JSON Lines or CSV, local or remote.

A table is one file (`products.parquet`), several (`products-00000.parquet`, ...) or a folder of
files (`products/...parquet`). Every batch has the same Arrow type a column whatever the format
(`schema.conversion`); unknown columns are left out.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc

from tfrs_sage.errors import InputError
from tfrs_sage.schema.formats import (
    csv_rows,
    open_parquet,
    read_csv,
    read_jsonl,
    read_parquet,
)
from tfrs_sage.schema.tables import TABLES, Kind

BATCH_ROWS = 16_384
FORMATS = ("parquet", "jsonl", "csv")
_FILE = re.compile(
    rf"^(?P<table>{'|'.join(TABLES)})(?:-[^/]*|/[^/]+)?\.(?P<format>{'|'.join(FORMATS)})$"
)

# (1-based first row of the batch within its file, the file, the rows)
Batch = tuple[int, str, pa.RecordBatch]


def is_local(folder: str) -> bool:
    """True for a path of this machine, false for `gs://...` and its like."""
    return "://" not in str(folder)


def open_file(path: str) -> IO[bytes]:
    """The bytes of a file, through Beam's filesystems where it is not local."""
    if is_local(path):
        return open(path, "rb")
    from apache_beam.io.filesystems import FileSystems  # 2 s to import

    return FileSystems.open(path)


def _relative_files(folder: str) -> list[str]:
    """Paths below `folder`, one level of sub-folders deep, hidden ones left out.

    Raises:
        InputError: there is no such folder.
    """
    if is_local(folder):
        root = Path(folder)
        if not root.is_dir():
            raise InputError(
                f"The input must be a folder of tables. Found: no folder {folder}. "
                "Give the folder that holds products.parquet (or .jsonl, .csv)."
            )
        paths = (path for pattern in ("*", "*/*") for path in root.glob(pattern))
        found = [path.relative_to(root).as_posix() for path in paths if path.is_file()]
    else:
        from apache_beam.io.filesystems import FileSystems

        base = folder.rstrip("/") + "/"
        matches = FileSystems.match([base + "*", base + "*/*"])
        found = [file.path.removeprefix(base) for match in matches for file in match.metadata_list]
    return sorted({path for path in found if not path.rsplit("/", 1)[-1].startswith((".", "_"))})


def table_files(folder: str) -> dict[str, list[str]]:
    """The files of each table that the folder holds.

    Args:
        folder: a local path, or any that Beam's filesystems read.

    Returns:
        Full paths by table name, sorted; a table that is not there has no key.

    Raises:
        InputError: no such folder, or a table in two formats.
    """
    folder = str(folder)
    tables: dict[str, list[str]] = {}
    formats: dict[str, set[str]] = {}
    for path in _relative_files(folder):
        match = _FILE.match(path)
        if match is not None:
            tables.setdefault(match["table"], []).append(f"{folder.rstrip('/')}/{path}")
            formats.setdefault(match["table"], set()).add(match["format"])
    for table, kinds in formats.items():
        if len(kinds) > 1:
            raise InputError(
                f"Table {table} must be in one format. Found: {', '.join(sorted(kinds))} in "
                f"{folder}. Remove all but one, or its rows would count twice."
            )
    return tables


def stray_files(folder: str) -> list[str]:
    """Files with a table's extension but no table's name, such as `product.parquet`."""
    return [
        path
        for path in _relative_files(str(folder))
        if path.endswith(tuple(f".{name}" for name in FORMATS)) and not _FILE.match(path)
    ]


def iter_batches(folder: str, table: str, batch_size: int = BATCH_ROWS) -> Iterator[Batch]:
    """The rows of a table, file by file.

    Args:
        folder: of the tables.
        table: its name; a table that is not there has no batches.
        batch_size: rows of a batch, at most.

    Yields:
        `(first_row, file, batch)`; `first_row` counts from 1 within the file. Rows with cells
        that could not be read say so in the column `__malformed__`, which `check_row` reads.

    Raises:
        InputError: a file that is not of its format.
    """
    for path in table_files(folder).get(table, []):
        yield from iter_file_batches(table, path, batch_size)


def iter_file_batches(
    table: str, path: str, batch_size: int = BATCH_ROWS, unknown: set[str] | None = None
) -> Iterator[Batch]:
    """As `iter_batches`, of one file.

    Args:
        table: its name.
        path: the file.
        batch_size: rows of a batch, at most.
        unknown: takes the names of the columns that the table does not know.
    """
    read = {"parquet": read_parquet, "jsonl": read_jsonl, "csv": read_csv}[_format_of(path)]
    unknown = set() if unknown is None else unknown
    first = 1
    with open_file(path) as file:
        for batch in read(TABLES[table], file, path, batch_size, unknown):
            yield first, path, batch
            first += batch.num_rows


def _format_of(path: str) -> str:
    return path.rsplit(".", 1)[-1]


def file_columns(path: str) -> list[tuple[str, pa.DataType | None]] | None:
    """Names and types that a file states at its head: types of Parquet, names of CSV.

    Returns:
        None for JSON Lines, whose rows each state their own.
    """
    if path.endswith(".jsonl"):
        return None
    if path.endswith(".csv"):
        with open_file(path) as file:
            return [(name, None) for name in next(csv_rows(file, path), [])]
    with open_file(path) as file, open_parquet(file, path) as parquet:
        return [(column.name, column.type) for column in parquet.schema_arrow]


def vector_widths(folder: str, table: str) -> dict[str, int]:
    """The width of each vector column of a table: that of its first vector.

    Raises:
        InputError: a file that is not of its format.
    """
    widths: dict[str, int] = {}
    for path in table_files(folder).get(table, []):
        for _, _, batch in iter_file_batches(table, path):
            note_widths(table, batch, widths)
            # JSON Lines may bring a new column with any row, the others state theirs at the head.
            complete = set(vector_columns(table, batch)) <= widths.keys()
            if complete and _format_of(path) != "jsonl":
                break
    return widths


def vector_columns(table: str, batch: pa.RecordBatch) -> list[str]:
    """Names of the batch's columns that hold one vector a row."""
    spec = TABLES[table]
    return [
        name
        for name in batch.schema.names
        if (column := spec.column(name)) is not None and column.kind is Kind.VECTOR
    ]


def note_widths(table: str, batch: pa.RecordBatch, widths: dict[str, int]) -> None:
    """Adds the width of each vector column not yet in `widths`, where the batch shows it."""
    for name in vector_columns(table, batch):
        array = batch.column(name)
        if name in widths or not pa.types.is_list(array.type):
            continue
        lengths = pc.list_value_length(array).drop_null()
        sizes = lengths.filter(pc.greater(lengths, 0))
        if len(sizes):
            widths[name] = sizes[0].as_py()
