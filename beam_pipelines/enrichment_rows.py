"""What the three enrichments have in common: how texts compare, what is read, what is written."""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq

from beam_pipelines.records import EntityKey
from beam_pipelines.rejects import reject_row
from beam_pipelines.tables import RowBatch, rows_of
from tfrs_sage.artefacts import MANIFEST, write_json
from tfrs_sage.schema.rows import check_row

TIME = pa.timestamp("us", tz="UTC")
_KEY = [("entity", pa.string()), ("id", pa.string())]
_COUNTS = pa.list_(pa.int64())
# By field: what its folder's Parquet files hold. Lists of a row go together, best first.
SCHEMAS: Mapping[str, pa.Schema] = {
    "caption": pa.schema(
        [
            *_KEY,
            ("caption", pa.string()),
            ("images", pa.list_(pa.string())),
            ("captions", pa.list_(pa.string())),
        ]
    ),
    "board_titles": pa.schema(
        [*_KEY, ("board_titles", pa.list_(pa.string())), ("counts", _COUNTS)]
    ),
    "engaged_queries": pa.schema(
        [
            *_KEY,
            ("engaged_queries", pa.list_(pa.string())),
            ("counts", _COUNTS),
            ("first_seen", pa.list_(TIME)),
        ]
    ),
}

# The folder of each field's texts.
ROOMS = {
    "caption": "captions",
    "board_titles": "board_titles",
    "engaged_queries": "engaged_queries",
}


def plain(text: str) -> str:
    """A text as it is compared with others: NFKC, case folded, white space as single spaces."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split())


class GoodRows(beam.DoFn):
    """RowBatch -> `(file, row number, values by column)` of good rows; others to `rejects`."""

    def __init__(self, table: str) -> None:
        self._table = table

    def process(self, batch: RowBatch) -> Iterator[Any]:
        for source, number, row in rows_of(batch):
            problems = check_row(self._table, row, number, source)
            if problems:
                yield from reject_row(problems)
            else:
                yield source, number, row


def best_texts(
    element: tuple[EntityKey, Sequence[tuple[int, str, Any]]], field: str
) -> dict[str, Any]:
    """`((entity, id), [(-count, text, ...)])` -> a row of `SCHEMAS[field]`, without the times."""
    (entity, identifier), ranked = element
    return {
        "entity": entity,
        "id": identifier,
        field: [one[1] for one in ranked],
        "counts": [-one[0] for one in ranked],
    }


class WriteEnrichment(beam.PTransform):
    """Rows of `SCHEMAS[field]` -> `part-*.parquet` in a folder."""

    def __init__(self, field: str, folder: Path) -> None:
        super().__init__()
        self._field = field
        self._folder = folder

    def expand(self, rows: beam.PCollection) -> Any:
        return rows | "WriteParquet" >> beam.io.WriteToParquet(
            str(self._folder / "part"), SCHEMAS[self._field], file_name_suffix=".parquet"
        )


def finish_folder(folder: Path, field: str, made_with: Mapping[str, Any]) -> dict[str, Any]:
    """Counts what was written and writes the manifest of the folder.

    Args:
        folder: of the Parquet files.
        field: of the enrichment.
        made_with: what else the manifest says.

    Returns:
        The manifest: `field`, `entities` (rows of each), `texts` (in all), `made_with`'s keys,
        `versions`.
    """
    entities: dict[str, int] = {}
    texts = 0
    for path in parts_of(folder):
        for batch in pq.ParquetFile(path).iter_batches(65_536, columns=["entity", field]):
            for entity in batch.column("entity").to_pylist():
                entities[entity] = entities.get(entity, 0) + 1
            column = batch.column(field)
            texts += len(column.flatten() if pa.types.is_list(column.type) else column)
    manifest = {
        "field": field,
        "entities": dict(sorted(entities.items())),
        "texts": texts,
        **made_with,
        "versions": {name: version(name) for name in ("tfrs-sage", "apache-beam")},
    }
    write_json(folder / MANIFEST, manifest)
    return manifest


def parts_of(folder: Path) -> list[Path]:
    """The Parquet files of an enrichment folder."""
    return sorted(folder.glob("part-*.parquet"))
