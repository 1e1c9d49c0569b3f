"""How each file format becomes batches of rows: Parquet, JSON Lines, CSV."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tfrs_sage.errors import InputError
from tfrs_sage.schema.conversion import LIST_KINDS, Fault, fits, from_arrow, from_values, parse_cell
from tfrs_sage.schema.rows import MALFORMED, shown
from tfrs_sage.schema.tables import TableSpec

_BATCH_BYTES = 64 * 2**20  # a batch of rows with long vectors has fewer rows


def _not_a(path: str, format_name: str, error: Exception) -> InputError:
    return InputError(
        f"{path} must be a readable {format_name} file. Found: {error}. Write it again."
    )


def _refuse_columns(spec: TableSpec, path: str, names: Sequence[str]) -> None:
    """Refuses a file without any column of the table, or with one twice."""
    known = [name for name in names if spec.column(name)]
    if not known:
        raise InputError(
            f"{path} must have columns of table {spec.name}. Found: {', '.join(names)}. "
            f"Known columns: {', '.join(spec.columns)}."
        )
    if len(set(known)) < len(known):
        raise InputError(
            f"{path} must name a column once. Found: {', '.join(sorted(known))}. "
            "Rename or remove the second."
        )


# === Parquet ===


def open_parquet(file: IO[bytes], path: str) -> pq.ParquetFile:
    try:
        # The buffer streams a column's pages: a row group need not fit into memory.
        return pq.ParquetFile(file, buffer_size=2**20, pre_buffer=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise _not_a(path, "Parquet", error) from error


def read_parquet(
    spec: TableSpec, file: IO[bytes], path: str, batch_size: int, unknown: set[str]
) -> Iterator[pa.RecordBatch]:
    """Batches of a Parquet file; names of columns the table does not know go to `unknown`."""
    with open_parquet(file, path) as parquet:
        names = parquet.schema_arrow.names
        _refuse_columns(spec, path, names)
        known = [name for name in names if spec.column(name)]
        unknown.update(set(names) - set(known))
        rows = min(batch_size, _rows_that_fit(parquet.metadata))
        batches = parquet.iter_batches(rows, columns=known, use_threads=False)
        while True:
            try:
                batch = next(batches, None)
            except (pa.ArrowInvalid, OSError) as error:
                raise _not_a(path, "Parquet", error) from error
            if batch is None:
                return
            yield _canonical(spec, batch)


def _rows_that_fit(metadata: pq.FileMetaData) -> int:
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    row_bytes = sum(group.total_byte_size for group in groups) / max(metadata.num_rows, 1)
    return max(1, int(_BATCH_BYTES / max(row_bytes, 1)))


def _canonical(spec: TableSpec, batch: pa.RecordBatch) -> pa.RecordBatch:
    """Every column in the type of its kind; one that does not fit stays as it is."""
    arrays: dict[str, pa.Array] = {}
    faults: dict[str, list[Fault]] = {}
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        column = spec.column(name)
        assert column is not None  # only known columns are read
        if fits(array.type, column.kind):
            arrays[name], faults[name] = from_arrow(array, column.kind)
        else:
            arrays[name] = array
    return _batch(arrays, faults, batch.num_rows)


def _batch(
    arrays: dict[str, pa.Array], faults: dict[str, list[Fault]], num_rows: int
) -> pa.RecordBatch:
    """A batch, with the column of malformed cells where there are any."""
    malformed: dict[int, list[list[str]]] = {}
    for name, found_faults in faults.items():
        for position, found, expected in found_faults:
            malformed.setdefault(position, []).append([name, found, expected])
    if malformed:
        texts = [
            json.dumps(malformed[position]) if position in malformed else None
            for position in range(num_rows)
        ]
        arrays = {**arrays, MALFORMED: pa.array(texts, pa.string())}
    return pa.RecordBatch.from_pydict(arrays)


# === JSON Lines ===


def read_jsonl(
    spec: TableSpec, file: IO[bytes], path: str, batch_size: int, unknown: set[str]
) -> Iterator[pa.RecordBatch]:
    """Batches of a JSON Lines file; an empty line is no row."""
    lines = (line for line in file if line.strip())
    while block := _block(lines, batch_size):
        yield _json_batch(spec, block, unknown)


def _block(lines: Iterable[bytes], batch_size: int) -> list[bytes]:
    block, size = [], 0
    for line in islice(lines, batch_size):
        block.append(line)
        size += len(line)
        if size >= _BATCH_BYTES:
            break
    return block


def _json_batch(spec: TableSpec, lines: Sequence[bytes], unknown: set[str]) -> pa.RecordBatch:
    rows: list[dict[str, Any]] = []
    broken: list[Fault] = []
    names = dict.fromkeys(spec.required_columns)
    for position, line in enumerate(lines):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            broken.append((position, shown(line.decode(errors="replace")), "a JSON object"))
            row = {}
        rows.append(row)
        names.update(dict.fromkeys(row))
    unknown.update(name for name in names if spec.column(name) is None)
    arrays: dict[str, pa.Array] = {}
    faults: dict[str, list[Fault]] = {"": broken}
    for name in names:
        column = spec.column(name)
        if column is not None:
            values = [row.get(name) for row in rows]
            arrays[name], faults[name] = from_values(values, column.kind)
    return _batch(arrays, faults, len(rows))


# === CSV ===


def csv_rows(file: IO[bytes], path: str) -> Iterator[list[str]]:
    """The cells of a CSV file, the header first."""
    # The list columns are JSON text in one cell: 20 vectors of 256 floats pass the usual limit.
    csv.field_size_limit(_BATCH_BYTES)
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    reader = csv.reader(text, strict=True)
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise _not_a(path, "CSV", error) from error
        if row is None:
            return
        if row:  # an empty line is no row
            yield row


def read_csv(
    spec: TableSpec, file: IO[bytes], path: str, batch_size: int, unknown: set[str]
) -> Iterator[pa.RecordBatch]:
    """Batches of a CSV file with a header; list columns hold JSON text, an empty cell is null."""
    rows = csv_rows(file, path)
    header = next(rows, None)
    if header is None:
        raise InputError(
            f"{path} must begin with the column names. Found: an empty file. Write it again."
        )
    _refuse_columns(spec, path, header)
    unknown.update(name for name in header if spec.column(name) is None)
    while block := list(islice(rows, batch_size)):
        yield _csv_batch(spec, header, block)


def _csv_batch(spec: TableSpec, header: Sequence[str], rows: list[list[str]]) -> pa.RecordBatch:
    broken: list[Fault] = []
    for position, row in enumerate(rows):
        if len(row) != len(header):
            broken.append((position, f"{len(row)} cells", f"{len(header)} cells, as in line 1"))
            rows[position] = [""] * len(header)
    arrays: dict[str, pa.Array] = {}
    faults: dict[str, list[Fault]] = {"": broken}
    for number, name in enumerate(header):
        column = spec.column(name)
        if column is None:
            continue
        cells = [parse_cell(row[number], column.kind) for row in rows]
        arrays[name], found = from_values(cells, column.kind)
        note = " as JSON text" if column.kind in LIST_KINDS else ""
        faults[name] = [(position, value, rule + note) for position, value, rule in found]
    return _batch(arrays, faults, len(rows))
