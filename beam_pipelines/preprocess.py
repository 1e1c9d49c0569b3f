"""Tables to vocabularies, catalogue records and shuffled training examples.

    python -m beam_pipelines.preprocess --input TABLES --output RUN [--direct_num_workers=2 ...]

A pipeline of keyed steps: no worker holds a whole table, and what is kept of a key is bounded.
The workers write into the run folder, which all of them must reach; with the same input and
configuration the files are the same to the byte, however many workers there are.
"""

import json
import logging
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import apache_beam as beam

from beam_pipelines import options
from beam_pipelines.catalogue import (
    ENTITY_TABLES,
    DescribeEntity,
    MakeCatalogue,
)
from beam_pipelines.command_line import run_job
from beam_pipelines.counters import job_counts
from beam_pipelines.engagements import MakePairs, Pair
from beam_pipelines.enrichments import AddTexts, ReadEnrichments, enrichment_files, histories_of
from beam_pipelines.examples import JoinExamples, text_record
from beam_pipelines.local_runner import pipeline_options
from beam_pipelines.manifests import write_manifests
from beam_pipelines.ngram_ids import AddNgramIds, NgramIds
from beam_pipelines.records import Record, WriteShards, leave, seeded_key, serialize
from beam_pipelines.rejects import WriteRejects, require_few, write_summary
from beam_pipelines.tables import ReadTable
from beam_pipelines.vocabularies import WriteVocabularies
from tfrs_sage.artefacts import whole_folder
from tfrs_sage.errors import InputError
from tfrs_sage.schema.config import PreprocessConfig
from tfrs_sage.schema.features import Task
from tfrs_sage.schema.reading import file_columns, table_files, vector_widths

_LOG = logging.getLogger(__name__)
TABLES = ("products", "pins", "engagements")  # the tables that this job reads
ROOMS = ("vocabulary", "catalogue", "examples")


def preprocess(
    input: str,
    run_dir: str,
    config: PreprocessConfig | None = None,
    pipeline_args: Sequence[str] = (),
) -> dict[str, Any]:
    """Runs the job and waits for it.

    Args:
        input: folder of the tables, any path that Beam's filesystems read.
        run_dir: run folder; `vocabulary`, `catalogue`, `examples` and `rejects` appear in it.
        config: settings.
        pipeline_args: options of Beam, e.g. `["--direct_num_workers=2"]`.

    Returns:
        Summary: `tables` (rows, rejected rows, reasons), `pairs` (merged, capped, user rows,
        examples), `tasks`, `entities`, `vocabulary` sizes, `images`, `enrichments` (texts joined),
        `seconds`.

    Raises:
        InputError: no products table, unreadable tables or enrichments, or more rejects than
            `config.max_reject_share`. The three folders are then as they were before; the
            rejects are written all the same.
    """
    started = time.monotonic()
    config = config or PreprocessConfig()
    files = table_files(input)
    if "products" not in files:
        raise InputError(
            f"The input must hold a products table. Found: {', '.join(sorted(files)) or 'none'} "
            f"in {input}. Add products.parquet, .jsonl or .csv."
        )
    for path in (path for table in TABLES for path in files.get(table, ())):
        file_columns(path)  # a file that is not of its format is told before any work
    enrichment_files(config)  # likewise
    run = Path(run_dir)
    tables = [table for table in TABLES if table in files]
    with ExitStack() as rooms:
        folders = {room: rooms.enter_context(whole_folder(run / room)) for room in ROOMS}
        with whole_folder(run / "rejects") as rejects:
            result = run_pipeline(input, files, folders, rejects, config, pipeline_args)
            counts = job_counts(result)
            write_summary(rejects, counts, tables)
        require_few(counts, tables, config.max_reject_share, run / "rejects")
        summary = write_manifests(folders, counts, tables, config, _versions())
    summary["seconds"] = round(time.monotonic() - started, 1)
    _LOG.info("preprocess: %s", json.dumps(summary))
    return summary


def run_pipeline(
    input: str,
    files: dict[str, list[str]],
    folders: dict[str, Path],
    rejects: Path,
    config: PreprocessConfig,
    pipeline_args: Sequence[str],
) -> Any:
    """Builds the pipeline, runs it and waits; returns Beam's result."""
    pipeline = beam.Pipeline(options=pipeline_options(pipeline_args))
    letters = []
    records = {}
    for entity, table in ENTITY_TABLES.items():
        widths = vector_widths(input, table)
        made = pipeline | f"Read_{table}" >> ReadTable(table, files)
        records[entity], bad = made | f"Make_{entity}" >> MakeCatalogue(
            entity, input, config.image_encoder, widths
        )
        letters.append(bad)
    rows = pipeline | "Read_engagements" >> ReadTable("engagements", files)
    pairs, bad = rows | "Pairs" >> MakePairs(config)
    letters.append(bad)
    records["query"] = (
        pairs
        | "QueryTexts" >> beam.FlatMap(query_texts)
        | "DistinctTexts" >> beam.Distinct()
        | "TextRecords" >> beam.Map(lambda text: (text, text_record(text)))
    )
    queries = records.pop("query") | "Keyed_query" >> beam.Map(keyed, "query")
    entities = [
        collection | f"Keyed_{entity}" >> beam.Map(keyed, entity)
        for entity, collection in records.items()
    ] | "Entities" >> beam.Flatten()
    joined: dict[str, Any] = {"pairs": pairs}
    if enriching := enrichment_files(config):
        rows = pipeline | "ReadEnrichments" >> ReadEnrichments(enriching)
        joined["histories"] = rows | "Histories" >> beam.FlatMap(histories_of)
        entities = (
            {"records": entities, "rows": rows}
            | "EnrichmentGroups" >> beam.CoGroupByKey()
            | "AddTexts" >> beam.ParDo(AddTexts())
        )
    written = _write_vocabularies((entities, queries), folders, config)
    ids = NgramIds(folders["vocabulary"]) if config.store_ngram_ids else None
    if ids is not None:
        add = AddNgramIds(folders["vocabulary"])
        entities = entities | "NgramIds" >> beam.ParDo(add, beam.pvalue.AsList(written))
    catalogue = (entities, queries) | "Catalogue" >> beam.Flatten()
    examples, bad = {**joined, "records": entities} | "Join" >> JoinExamples(config.seed, ids)
    letters.append(bad)
    _ = examples | "WriteExamples" >> WriteShards(folders["examples"], config.shard_bytes)
    _write_catalogue(catalogue, folders, config)
    _ = (
        letters
        | "AllRejects" >> beam.Flatten()
        | "ByTable" >> beam.GroupByKey()
        | "WriteRejects" >> beam.ParDo(WriteRejects(rejects))
    )
    result = pipeline.run()
    result.wait_until_finish()
    return result


def _write_catalogue(
    catalogue: beam.PCollection, folders: dict[str, Path], config: PreprocessConfig
) -> None:
    """The sinks of the catalogue: its shards and its description."""
    _ = (
        catalogue
        | "CatalogueEntries" >> beam.Map(catalogue_entry, config.seed)
        | "WriteCatalogue" >> WriteShards(folders["catalogue"], config.shard_bytes)
    )
    _ = (
        catalogue
        | "ByEntity" >> beam.Map(lambda element: (element[0][0], element[1]))
        | "Describe" >> beam.CombinePerKey(DescribeEntity())
        | "LeaveEntities" >> beam.Map(leave_entity, folders["catalogue"])
    )


def _write_vocabularies(
    parts: tuple[beam.PCollection, ...], folders: dict[str, Path], config: PreprocessConfig
) -> beam.PCollection:
    """Writes the vocabularies of all texts; what comes out comes when they are written."""
    return (
        parts
        | "AllTexts" >> beam.Flatten()
        | "OnlyRecords" >> beam.Values()
        | "ShareTexts" >> beam.Reshuffle()
        | "Vocabularies" >> WriteVocabularies(folders["vocabulary"], config)
    )


def keyed(element: tuple[str, Record], entity: str) -> tuple[tuple[str, str], Record]:
    """`((entity, id), record)`."""
    identifier, record = element
    return (entity, identifier), record


def query_texts(element: tuple[Any, ...]) -> list[str]:
    """The texts of a pair that belong to the catalogue: those of training, and all candidates."""
    pair = Pair(*element)
    task = Task.parse(pair.task)
    texts = [pair.candidate] if task.candidate_type == "query" else []
    if task.query_type == "search" and pair.split == "train":
        texts.append(pair.query)
    return texts


def catalogue_entry(
    element: tuple[tuple[str, str], Record], seed: int
) -> tuple[str, tuple[bytes, bytes]]:
    """`(entity, (sort key, serialized record))`."""
    (entity, identifier), record = element
    return entity, (seeded_key(seed, "catalogue", entity, identifier), serialize(record))


def leave_entity(element: tuple[str, dict[str, Any]], folder: Path) -> None:
    """Leaves what was found of an entity for the manifest."""
    entity, found = element
    leave(folder, f"entity/{entity}", {"entity": entity, **found})


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("tfrs-sage", "apache-beam", "tensorflow")}


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """The job from a command line; its summary."""
    input, output, config, beam_arguments = options.parse(argv)
    return preprocess(input, output, config, beam_arguments)


if __name__ == "__main__":
    # Under its own name, so that workers can import what the pipeline refers to.
    from beam_pipelines import preprocess as module

    sys.exit(run_job(module.run))
