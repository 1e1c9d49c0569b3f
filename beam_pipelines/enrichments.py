"""Enrichment folders joined to the records of pins and products, without a pair's own answer.

A record gets the texts of every folder (`captions`, `board_titles`, `engaged_queries`) for the
fields that its row leaves empty. Engaged queries need more care in the training pairs, where the
query *is* what is to be predicted: read plainly, every positive candidate would hold its own
query, and the model would learn to look it up. OmniSearchSage builds its features before the days
that it trains on; here a training pair sees the queries of its two entities but for its own, which
stays only where it had led to the entity a day before, or earlier. So the share of positives that
hold their query is in training what it is later on, when the past is all that is known.

Other queries stay, later ones too. Cutting every list at the time of its pair gives positives
shorter lists than the random negatives have, which are read from the catalogue: the model then
learns that a long list is wrong.

Pairs of the validation and test split and the catalogue have the whole list, which ends with the
training period.
"""

import datetime
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq

from beam_pipelines.counters import count
from beam_pipelines.engagements import NO_TIME, Pair, microseconds
from beam_pipelines.enrichment_rows import parts_of, plain
from beam_pipelines.ngram_ids import NgramIds
from beam_pipelines.past_engagements import DAY, split_settings
from beam_pipelines.records import EntityKey, Record
from tfrs_sage.artefacts import read_manifest, require_same
from tfrs_sage.errors import InputError
from tfrs_sage.schema.config import PreprocessConfig
from tfrs_sage.schema.features import ENRICHMENTS, ENTITY_TEXTS, NGRAMS_SUFFIX, Task

ENGAGED = "engaged_queries"
LAG = DAY  # a session's click and save are one event, not a past and a future
# Engaged queries with the time of their first engagement in microseconds, or `NO_TIME`.
History = tuple[tuple[str, int], ...]


def enrichment_files(config: PreprocessConfig) -> list[tuple[str, str]]:
    """`(field, file)` of the folders that the configuration names.

    Raises:
        InputError: a folder without a manifest, of an unknown field, of a field that another
            folder has, with files that lack a column, or made with other splits.
    """
    found: dict[str, str] = {}
    files = []
    for name in config.enrichments:
        folder = Path(name)
        manifest = read_manifest(folder)
        field = manifest.get("field")
        if field not in ENRICHMENTS or field in found:
            raise InputError(
                f"preprocess.enrichments names one folder each of {', '.join(ENRICHMENTS)}. "
                f"Found: {field!r} in {name}"
                + (f" and in {found[field]}" if field in found else "")
                + ". Name the folders that the enrichment jobs wrote."
            )
        found[field] = name
        if "splits" in manifest:
            require_same(folder, manifest["splits"], split_settings(config))
        for path in parts_of(folder):
            absent = {"entity", "id", field} - set(pq.read_schema(path).names)
            if absent:
                raise InputError(
                    f"{path} must have the columns entity, id and {field}. Found none of "
                    f"{', '.join(sorted(absent))}. Run the job again."
                )
            files.append((field, str(path)))
    return files


class ReadEnrichments(beam.PTransform):
    """Begin -> `((entity, id), (field, text, History))` of all rows of the files."""

    def __init__(self, files: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._files = files

    def expand(self, begin: Any) -> Any:
        return (
            begin
            | "EnrichmentFiles" >> beam.Create(self._files)
            | "SpreadFiles" >> beam.Reshuffle()
            | "ReadEnrichment" >> beam.FlatMapTuple(read_enrichment)
        )


def read_enrichment(field: str, path: str) -> Iterator[tuple[EntityKey, tuple[str, str, History]]]:
    """The rows of one file that have a text."""
    with pq.ParquetFile(path) as file:
        wanted = ["entity", "id", field]
        if field == ENGAGED and "first_seen" in file.schema_arrow.names:
            wanted.append("first_seen")
        for batch in file.iter_batches(8192, columns=wanted):
            for row in pa.Table.from_batches([batch]).to_pylist():
                texts = row[field]
                texts = [texts] if isinstance(texts, str) else list(texts or ())
                seen = row.get("first_seen") or [None] * len(texts)
                history = tuple(zip(texts, map(_time, seen), strict=True))
                if joined := " ".join(filter(None, texts)):
                    yield (
                        (row["entity"], row["id"]),
                        (field, joined, history if field == ENGAGED else ()),
                    )


def _time(when: datetime.datetime | None) -> int:
    return NO_TIME if when is None else microseconds(when)


class AddTexts(beam.DoFn):
    """Groups `{"records", "rows"}` of an entity -> `((entity, id), Record)` with its new texts.

    A text that the entity's own row has stays as it is.
    """

    def process(self, element: tuple[EntityKey, Mapping[str, Any]]) -> Iterator[Any]:
        key, groups = element
        records = list(groups["records"])
        rows = sorted(groups["rows"])
        if not records:
            count("enrichments/unknown", len(rows))
            return
        fields = dict(records[0])
        order = ENTITY_TEXTS[key[0]]
        for field, text, _ in rows:
            if field in fields:
                count(f"enrichments/{field}/not_needed")
            else:
                count(f"enrichments/{field}/joined")
                fields[field] = text.encode()
        texts = [name for name in order if name in fields]
        others = [name for name in fields if name not in order]
        head, rest = others[:1], others[1:]  # the id stays first
        yield key, tuple((name, fields[name]) for name in (*head, *texts, *rest))


def histories_of(
    element: tuple[EntityKey, tuple[str, str, History]],
) -> Iterator[tuple[EntityKey, tuple[str, History]]]:
    """`((entity, id), (text, History))` of the engaged queries."""
    key, (field, text, history) = element
    if field == ENGAGED:
        yield key, (text, history)


class ForPairs:
    """Records as a training pair may see them.

    Args:
        ids: where records hold the n-gram ids of their texts; None where they do not.
    """

    def __init__(self, ids: NgramIds | None) -> None:
        self._ids = ids

    def records(
        self, record: Record, histories: Sequence[tuple[str, History]], pairs: Sequence[Pair]
    ) -> list[Record]:
        """The record of an entity for each of its pairs."""
        fields = dict(record)
        # An entity whose own row gives the queries has no history of them.
        known = [h for text, h in sorted(histories) if fields.get(ENGAGED) == text.encode()][:1]
        if not known:
            return [record] * len(pairs)
        texts = [
            None if pair.split != "train" else " ".join(without_own(known[0], pair)).encode()
            for pair in pairs
        ]
        ids = self._ids.of({text for text in texts if text}) if self._ids else {}
        return [
            record if text is None or text == fields[ENGAGED] else _with(record, text, ids)
            for text in texts
        ]


def without_own(history: History, pair: Pair) -> list[str]:
    """The engaged queries of an entity that one of its training pairs may see, best first."""
    if Task.parse(pair.task).query_type != "search":
        return [query for query, _ in history]
    own = plain(pair.query)
    return [
        query
        for query, first in history
        if query != own or (NO_TIME not in (first, pair.time) and first <= pair.time - LAG)
    ]


def _with(record: Record, text: bytes, ids: Mapping[bytes, bytes]) -> Record:
    """The record with other engaged queries, and their ids; without where there are none."""
    changed = {ENGAGED: text, ENGAGED + NGRAMS_SUFFIX: ids.get(text, b"")}
    return tuple(
        (name, changed.get(name, value)) for name, value in record if changed.get(name, value)
    )
