"""Products and pins: rows to records, with images as vectors and each id once."""

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np

from beam_pipelines.counters import count
from beam_pipelines.records import Record
from beam_pipelines.rejects import REJECTS, dead_letter, reject_row
from beam_pipelines.tables import RowBatch, rows_of
from tfrs_sage.schema.features import (
    ENTITY_TEXTS,
    ID,
    IMAGES,
    MAX_IMAGES,
    VECTOR_SUFFIX,
)
from tfrs_sage.schema.rows import Problem, check_row
from tfrs_sage.schema.tables import TABLES
from tfrs_sage.vision import image_encoder
from tfrs_sage.vision.images import ImageError, ImageSource

ENTITY_TABLES = {"product": "products", "pin": "pins"}
IMAGE_BATCH = 64  # images that are in memory undecoded at once
# A record with the place of its row: (file, row, record).
Placed = tuple[str, int, Record]


class MakeRecords(beam.DoFn):
    """RowBatch -> `(id, Placed)` of one entity; problems to the side output.

    Args:
        entity: `product` or `pin`.
        folder: of the tables, for the images.
        encoder: name of the image encoder.
        widths: of the entity's vector columns.
    """

    def __init__(self, entity: str, folder: str, encoder: str, widths: dict[str, int]) -> None:
        self._entity = entity
        self._table = ENTITY_TABLES[entity]
        self._id_column = TABLES[self._table].id_column or ""
        self._folder = folder
        self._encoder_name = encoder
        self._widths = widths

    def setup(self) -> None:
        self._images = ImageSource(self._folder)
        self._encoder: Any = None  # weights are loaded by the first image, if there is one

    def process(self, batch: RowBatch) -> Iterator[Any]:
        good = []
        for source, number, row in rows_of(batch):
            problems = check_row(self._table, row, number, source, self._widths)
            if problems:
                yield from reject_row(problems)
            else:
                good.append((source, number, row))
        wanted = [
            (place, path)
            for place, (_, _, row) in enumerate(good)
            for path in (row.get("image_paths") or ())[:MAX_IMAGES]
        ]
        vectors: dict[int, list[np.ndarray]] = {}
        for start in range(0, len(wanted), IMAGE_BATCH):
            part = wanted[start : start + IMAGE_BATCH]
            for (place, path), result in zip(part, self._encode(part), strict=True):
                if isinstance(result, ImageError):
                    source, number, _ = good[place]
                    yield dead_letter(self._broken(path, result, number, source))
                else:
                    vectors.setdefault(place, []).append(result)
        for place, (source, number, row) in enumerate(good):
            record = self._record(row, vectors.get(place, []))
            yield row[self._id_column], (source, number, record)

    def _encode(self, part: list[tuple[int, str]]) -> list[np.ndarray | ImageError]:
        """A vector `[256]` or the error of each (place, path)."""
        if self._encoder is None:
            self._encoder = image_encoder(self._encoder_name)
        results: list[Any] = []
        for _, path in part:
            try:
                results.append(self._images.read(path))
            except ImageError as error:
                results.append(error)
        read = [place for place, result in enumerate(results) if isinstance(result, bytes)]
        encoded = self._encoder.encode_each([results[place] for place in read])
        for place, result in zip(read, encoded, strict=True):
            results[place] = result
        count("images/encoded", sum(not isinstance(result, ImageError) for result in results))
        return results

    def _broken(self, path: str, error: ImageError, number: int, source: str) -> Problem:
        count("images/broken")
        found = f"{path}: {error.reason}"
        expected = "an image that can be read (the row is kept without it)"
        return Problem(self._table, number, "image_paths", found, expected, source, "image")

    def _record(self, row: dict[str, Any], vectors: list[np.ndarray]) -> Record:
        fields = [(ID, row[self._id_column].encode())]
        for name in ENTITY_TEXTS[self._entity]:
            if row.get(name):
                fields.append((name, row[name].encode()))
        images = vectors or (row.get("image_embeddings") or [])[:MAX_IMAGES]
        if len(images):
            fields.append((IMAGES, half_floats(images)))
        for name in sorted(row):
            if name.endswith(VECTOR_SUFFIX) and row[name] is not None:
                fields.append((name, half_floats(row[name])))
        return tuple(fields)


def half_floats(values: Any) -> bytes:
    """Numbers of any shape as little-endian float16 bytes; beyond its range they are clipped."""
    limit = np.finfo(np.float16).max
    return np.clip(np.asarray(values, np.float32), -limit, limit).astype("<f2").tobytes()


class KeepFirst(beam.DoFn):
    """`(id, Placed rows)` -> `(id, Record)`: the first row of an id; the others are rejected."""

    def __init__(self, entity: str) -> None:
        self._table = ENTITY_TABLES[entity]

    def process(self, element: tuple[str, Iterable[Placed]]) -> Iterator[Any]:
        identifier, placed = element
        first, *others = sorted(placed)
        for source, number, _ in others:
            column = TABLES[self._table].id_column or ""
            expected = f"an id that no other row has; row {first[1]} has it"
            problem = Problem(
                self._table, number, column, repr(identifier), expected, source, "duplicate"
            )
            yield from reject_row([problem])
        yield identifier, first[2]


class MakeCatalogue(beam.PTransform):
    """RowBatch -> `(id, Record)` with unique ids; side output `rejects`."""

    def __init__(self, entity: str, folder: str, encoder: str, widths: dict[str, int]) -> None:
        super().__init__()
        self._entity = entity
        self._make = MakeRecords(entity, folder, encoder, widths)

    def expand(self, batches: beam.PCollection) -> Any:  # (main, rejects)
        made = batches | "MakeRecords" >> beam.ParDo(self._make).with_outputs(REJECTS, main="good")
        kept = (
            made.good
            | "ById" >> beam.GroupByKey()
            | "KeepFirst" >> beam.ParDo(KeepFirst(self._entity)).with_outputs(REJECTS, main="good")
        )
        rejects = (made[REJECTS], kept[REJECTS]) | "AllRejects" >> beam.Flatten()
        return kept.good, rejects


class DescribeEntity(beam.CombineFn):
    """Records -> what `EntitySpec` needs: names of texts, most images, widths, count."""

    def create_accumulator(self) -> dict[str, Any]:
        return {"fields": {}, "count": 0}

    def add_input(self, accumulator: dict[str, Any], record: Record) -> dict[str, Any]:
        sizes = accumulator["fields"]
        for name, value in record:
            sizes[name] = max(sizes.get(name, 0), len(value))
        accumulator["count"] += 1
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[dict[str, Any]]) -> dict[str, Any]:
        merged = self.create_accumulator()
        for accumulator in accumulators:
            for name, size in accumulator["fields"].items():
                merged["fields"][name] = max(merged["fields"].get(name, 0), size)
            merged["count"] += accumulator["count"]
        return merged

    def extract_output(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        return accumulator
