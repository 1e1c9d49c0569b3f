"""Captions of the images of pins and products, from an image-to-text model.

    python -m beam_pipelines.captions --input TABLES --output FOLDER --preset PRESET [...]

OmniSearchSage section 3 (arXiv 2404.16260): a third of pins have no text of their own; what a
vision-language model says about their picture is their text. Captioning is by far the longest of
the jobs, so it can be stopped at any time: captions are saved as they are made, in
`FOLDER/captions.unfinished`, and a second run makes only those that are not there. A finished
folder of the same model is taken up likewise when the tables have grown.
"""

import json
import logging
import shutil
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.ml.inference.base import KeyedModelHandler, RunInference

from beam_pipelines.caption_handler import CaptionHandler
from beam_pipelines.catalogue import ENTITY_TABLES
from beam_pipelines.command_line import run_job
from beam_pipelines.counters import count
from beam_pipelines.enrichment_job import common_parser, run_enrichment
from beam_pipelines.enrichment_rows import GoodRows, WriteEnrichment, parts_of
from beam_pipelines.records import EntityKey
from beam_pipelines.rejects import REJECTS, reject_row
from beam_pipelines.tables import ReadTable
from tfrs_sage.artefacts import MANIFEST, read_manifest, write_json
from tfrs_sage.errors import InputError
from tfrs_sage.schema.config import PreprocessConfig
from tfrs_sage.schema.features import MAX_IMAGES
from tfrs_sage.schema.rows import Problem
from tfrs_sage.schema.tables import TABLES
from tfrs_sage.vision.decode import decode_rgb
from tfrs_sage.vision.images import ImageError, ImageSource

_LOG = logging.getLogger(__name__)
FIELD = "caption"
UNFINISHED = "captions.unfinished"
SAVE_EVERY = 64  # captions that a kill may cost a worker
_SAVED = pa.schema([(name, pa.string()) for name in ("entity", "id", "image", "caption")])

# An image to caption: (entity, id), its place among the entity's images, path, file, row.
Item = tuple[EntityKey, tuple[int, str, str, int]]


def captions(
    input: str,
    output: str | Path,
    handler: Any,
    images: int = 1,
    max_reject_share: float | None = None,
    save_every: int = SAVE_EVERY,
    pipeline_args: Sequence[str] = (),
) -> dict[str, Any]:
    """Writes `OUTPUT/captions`: rows of `SCHEMAS["caption"]` with a manifest.

    A row's `caption` is what the captions of its `images` say, each thing once.

    Args:
        input: folder of the tables, with the pictures of `pins` and `products`.
        output: folder of the enrichments.
        handler: Beam ModelHandler from encoded images to texts, with a method `captioner()` that
            says what decides them; see `CaptionHandler`.
        images: of an entity that are captioned, from the first.
        max_reject_share: of a table's rows whose image may be broken; default: that of
            `PreprocessConfig`.
        save_every: captions that a worker makes between two savings.
        pipeline_args: options of Beam.

    Returns:
        As `run_enrichment`; `captioner`, `captioned` and `reused` images, `without_image` rows.

    Raises:
        InputError: as `run_enrichment`; an unfinished folder of another model; `images` out of
            range.
    """
    if not 1 <= images <= MAX_IMAGES:
        raise InputError(f"`images` must be within 1..{MAX_IMAGES}. Received: {images}.")
    captioner = handler.captioner()
    unfinished = Path(output) / UNFINISHED
    saved = _saved_files(Path(output), captioner)

    def build(pipeline: beam.Pipeline, files: Any, folder: Path) -> list[Any]:
        items, letters = [], []
        for entity, table in ENTITY_TABLES.items():
            read = pipeline | f"Read_{table}" >> ReadTable(table, files)
            good, bad = read | f"Check_{table}" >> beam.ParDo(GoodRows(table)).with_outputs(
                REJECTS, main="good"
            )
            items.append(good | f"Items_{table}" >> beam.FlatMap(image_items, entity, images))
            letters.append(bad)
        known = (
            pipeline
            | "SavedFiles" >> beam.Create(saved)
            | "SpreadSaved" >> beam.Reshuffle()
            | "ReadSaved" >> beam.FlatMap(read_saved)
        )
        wanted = (
            {"items": items | "AllItems" >> beam.Flatten(), "known": known}
            | "JoinSaved" >> beam.CoGroupByKey()
            | "WhatIsLeft" >> beam.FlatMap(split_known).with_outputs("known", main="left")
        )
        made, bad = wanted.left | "Caption" >> CaptionImages(input, handler, unfinished, save_every)
        _ = (
            (wanted.known, made)
            | "AllCaptions" >> beam.Flatten()
            | "ByEntity" >> beam.GroupByKey()
            | "ToRow" >> beam.FlatMapTuple(to_row)
            | "Write" >> WriteEnrichment(FIELD, folder)
        )
        return [*letters, bad]

    def made_with(counts: Mapping[str, int]) -> dict[str, Any]:
        names = ("captioned", "reused", "without_image")
        return {
            "captioner": captioner,
            "images": images,
            **{name: counts.get(f"captions/{name}", 0) for name in names},
        }

    share = PreprocessConfig().max_reject_share if max_reject_share is None else max_reject_share
    tables = {"products": False, "pins": False}
    summary = run_enrichment(FIELD, input, output, tables, build, share, made_with, pipeline_args)
    shutil.rmtree(unfinished)
    return summary


def _saved_files(output: Path, captioner: Mapping[str, Any]) -> list[str]:
    """Files with captions of this captioner; makes the folder for those to come."""
    unfinished, finished = output / UNFINISHED, output / "captions"
    if (unfinished / MANIFEST).is_file():
        found = read_manifest(unfinished)
        if found != captioner:
            raise InputError(
                f"Captions that were begun are ended by the model that began them. Found in "
                f"{unfinished}: {json.dumps(found)}; received: {json.dumps(captioner)}. Give that "
                "model again, or delete the folder to begin anew."
            )
    else:
        write_json(unfinished / MANIFEST, captioner)
    files = [str(path) for path in sorted(unfinished.glob("*.parquet"))]
    if (finished / MANIFEST).is_file() and read_manifest(finished).get("captioner") == captioner:
        files += [str(path) for path in parts_of(finished)]
    _LOG.info("captions: %d files of saved captions are taken up", len(files))
    return files


class CaptionImages(beam.PTransform):
    """Item -> (`((entity, id), (place, path, caption))`, rejects), saved as they are made.

    Nothing is gathered between the model and the saving, so what is saved follows the model by
    `save_every` captions at most.
    """

    def __init__(self, folder: str, handler: Any, unfinished: Path, save_every: int) -> None:
        super().__init__()
        self._folder = folder
        self._handler: Any = KeyedModelHandler(handler)
        self._unfinished = unfinished
        self._save_every = save_every

    def expand(self, items: beam.PCollection) -> Any:
        images = (
            items
            | "DealOut" >> beam.Reshuffle()
            | "ReadImages"
            >> beam.ParDo(ReadImages(self._folder)).with_outputs(REJECTS, main="good")
        )
        made = (
            images.good
            | "Model" >> RunInference(self._handler)
            | "Save" >> beam.ParDo(SaveCaptions(self._unfinished, self._save_every))
        )
        return made, images[REJECTS]


def image_items(
    element: tuple[str, int, dict[str, Any]], entity: str, images: int
) -> Iterator[Item]:
    """The first images of a row; rows without a picture file are counted."""
    source, number, row = element
    paths = (row.get("image_paths") or ())[:images]
    key = (entity, row[TABLES[ENTITY_TABLES[entity]].id_column or ""])
    if not paths:
        count("captions/without_image")
    for place, path in enumerate(paths):
        yield key, (place, path, source, number)


def read_saved(path: str) -> Iterator[tuple[EntityKey, tuple[str, str]]]:
    """`((entity, id), (image, caption))` of a file of unfinished or of finished captions."""
    for batch in pq.ParquetFile(path).iter_batches(8192):
        for row in batch.to_pylist():
            if "image" in row:
                yield (row["entity"], row["id"]), (row["image"], row["caption"])
            else:
                for found in zip(row["images"], row["captions"], strict=True):
                    yield (row["entity"], row["id"]), found


def split_known(element: tuple[EntityKey, Mapping[str, Any]]) -> Iterator[Any]:
    """Groups of an entity -> the items that have no caption; those that have, as `known`."""
    key, groups = element
    known = dict(sorted(groups["known"], reverse=True))
    # The same id twice is a fault that `preprocess` tells; the first row's images count.
    items = {
        place: (path, source, row)
        for place, path, source, row in sorted(
            groups["items"], key=lambda item: (item[2], item[3]), reverse=True
        )
    }
    for place, (path, source, row) in sorted(items.items()):
        if path in known:
            count("captions/reused")
            yield beam.pvalue.TaggedOutput("known", (key, (place, path, known[path])))
        else:
            yield key, (place, path, source, row)


class ReadImages(beam.DoFn):
    """Item -> `((entity, id, place, path), encoded image)`; broken ones to `rejects`."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def setup(self) -> None:
        self._images = ImageSource(self._folder)

    def process(self, item: Item) -> Iterator[Any]:
        (entity, identifier), (place, path, source, row) = item
        try:
            image = self._images.read(path)
            decode_rgb(image)
        except ImageError as error:
            expected = "an image that can be read (nothing else can be captioned)"
            found = f"{path}: {error.reason}"
            table = ENTITY_TABLES[entity]
            yield from reject_row(
                [Problem(table, row, "image_paths", found, expected, source, "image")]
            )
        else:
            yield (entity, identifier, place, path), image


class SaveCaptions(beam.DoFn):
    """`((entity, id, place, path), caption)` -> `((entity, id), (place, path, caption))`.

    Every so many captions are written as a file of their own, beside its name and renamed: a kill
    leaves whole files. A bundle that runs twice saves twice, which does no harm.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self._folder = folder
        self._every = every

    def start_bundle(self) -> None:
        self._rows: list[dict[str, str]] = []

    def process(self, element: tuple[tuple[str, str, int, str], str]) -> Iterator[Any]:
        (entity, identifier, place, path), caption = element
        count("captions/captioned")
        self._rows.append({"entity": entity, "id": identifier, "image": path, "caption": caption})
        if len(self._rows) >= self._every:
            self._save()
        yield (entity, identifier), (place, path, caption)

    def finish_bundle(self) -> None:
        self._save()

    def _save(self) -> None:
        if not self._rows:
            return
        name = uuid.uuid4().hex
        beside = self._folder / f".{name}"
        pq.write_table(pa.Table.from_pylist(self._rows, _SAVED), beside)
        beside.replace(self._folder / f"{name}.parquet")
        self._rows = []


def to_row(key: EntityKey, found: Iterable[tuple[int, str, str]]) -> Iterator[dict[str, Any]]:
    """A row of `SCHEMAS["caption"]`: the captions of an entity's images, in their order."""
    ordered = sorted(found)
    texts = dict.fromkeys(caption for _, _, caption in ordered if caption)
    entity, identifier = key
    yield {
        "entity": entity,
        "id": identifier,
        "caption": ". ".join(texts) or None,
        "images": [path for _, path, _ in ordered],
        "captions": [caption for _, _, caption in ordered],
    }


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """The job from its command line; options that it does not know go to Beam."""
    parser = common_parser("captions", "Captions of the images of pins and products.")
    parser.add_argument(
        "--preset", required=True, help="keras-hub image-to-text preset: a name or a folder"
    )
    parser.add_argument("--prompt", help="what the model is asked; default: by its kind")
    parser.add_argument("--max_tokens", type=int, default=64, help="of prompt and caption")
    parser.add_argument("--batch_size", type=int, default=16, help="images a call of the model")
    parser.add_argument("--images", type=int, default=1, help="of an entity, from the first")
    parser.add_argument("--save_every", type=int, default=SAVE_EVERY, help="captions a saving")
    known, pipeline_args = parser.parse_known_args(argv)
    handler = CaptionHandler(known.preset, known.prompt, known.max_tokens, known.batch_size)
    share = known.max_reject_share
    return captions(
        known.input, known.output, handler, known.images, share, known.save_every, pipeline_args
    )


if __name__ == "__main__":
    # Under its own name, so that workers can import what the pipeline refers to.
    from beam_pipelines import captions as module

    sys.exit(run_job(module.run))
