"""The rows of the tables as Beam elements, in batches, each with the place that it came from."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import apache_beam as beam
import pyarrow as pa

from beam_pipelines.counters import count
from tfrs_sage.schema.reading import iter_file_batches

_LOG = logging.getLogger(__name__)
BATCH_ROWS = 2048  # large enough to make Beam's cost per element small, small enough to share out

# (file, 1-based first row, rows as an Arrow IPC stream)
RowBatch = tuple[str, int, bytes]


class ReadTable(beam.PTransform):
    """Begin -> RowBatch: the rows of one table, dealt out to all workers.

    The file is the unit of reading (Parquet, JSON Lines and CSV alike); what costs time comes
    after the reshuffle, batch by batch.
    """

    def __init__(self, table: str, files: Mapping[str, list[str]]) -> None:
        super().__init__()
        self._table = table
        self._files = list(files.get(table, ()))

    def expand(self, begin: Any) -> beam.PCollection:
        return (
            begin
            | "Files" >> beam.Create(self._files, reshuffle=True)
            | "Read" >> beam.FlatMap(read_file, self._table)
            | "DealOut" >> beam.Reshuffle()
        )


def read_file(path: str, table: str) -> Iterator[RowBatch]:
    """The batches of one file, counted as `rows/<table>`."""
    rows = 0
    for first_row, source, batch in iter_file_batches(table, path, BATCH_ROWS):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        rows += batch.num_rows
        count(f"rows/{table}", batch.num_rows)
        yield source, first_row, sink.getvalue().to_pybytes()
    _LOG.info("%s: %d rows read from %s", table, rows, path)


def rows_of(batch: RowBatch) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """`(file, row number, values by column)` of each row of a batch."""
    source, first_row, stream = batch
    with pa.ipc.open_stream(stream) as reader:
        rows = reader.read_all().to_pylist()
    for number, row in enumerate(rows, first_row):
        yield source, number, row
