"""The frame of an enrichment job: a folder and its rejects, each whole or not at all."""

import argparse
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apache_beam as beam

from beam_pipelines.counters import job_counts
from beam_pipelines.engagements import NO_TIME, microseconds
from beam_pipelines.enrichment_rows import ROOMS, finish_folder
from beam_pipelines.local_runner import pipeline_options
from beam_pipelines.rejects import WriteRejects, require_few, write_summary
from tfrs_sage.artefacts import whole_folder
from tfrs_sage.errors import InputError
from tfrs_sage.schema.config import PreprocessConfig
from tfrs_sage.schema.reading import file_columns, table_files

_LOG = logging.getLogger(__name__)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Builds the steps of a job into a pipeline: (pipeline, files by table, folder to fill) -> rejects.
Build = Callable[[beam.Pipeline, dict[str, list[str]], Path], Sequence[beam.PCollection]]


def run_enrichment(
    field: str,
    input: str,
    output: str | Path,
    tables: Mapping[str, bool],
    build: Build,
    max_reject_share: float,
    made_with: Callable[[dict[str, int]], Mapping[str, Any]],
    pipeline_args: Sequence[str],
) -> dict[str, Any]:
    """Runs an enrichment and waits for it.

    Args:
        field: the text field that it makes; `OUTPUT/<its room>` appears, and
            `OUTPUT/rejects/<its room>`.
        input: folder of the tables.
        output: folder of the enrichments, which all workers reach.
        tables: the tables that the job reads, and whether it cannot do without.
        build: makes the pipeline; returns its collections of rejects.
        max_reject_share: of a table's rows, as `PreprocessConfig.max_reject_share`.
        made_with: what the manifest says beside the counts, from the job's counters.
        pipeline_args: options of Beam.

    Returns:
        The manifest of the folder, with `rejected` rows by table, and `seconds`.

    Raises:
        InputError: a table is missing or unreadable, or too many rows were rejected. The folder
            is then as it was; the rejects are written all the same.
    """
    started, room = time.monotonic(), ROOMS[field]
    files = table_files(input)
    for table, required in tables.items():
        if required and table not in files:
            raise InputError(
                f"{room} needs the table {table}. Found: {', '.join(sorted(files)) or 'none'} in "
                f"{input}. Add {table}.parquet, .jsonl or .csv."
            )
        for path in files.get(table, ()):
            file_columns(path)  # a file that is not of its format is told before any work
    read = [table for table in tables if table in files]
    place = Path(output) / "rejects" / room
    with whole_folder(Path(output) / room) as folder:
        with whole_folder(place) as rejects:
            pipeline = beam.Pipeline(options=pipeline_options(pipeline_args))
            letters = build(pipeline, files, folder)
            _ = (
                letters
                | "AllRejects" >> beam.Flatten()
                | "ByTable" >> beam.GroupByKey()
                | "WriteRejects" >> beam.ParDo(WriteRejects(rejects))
            )
            result = pipeline.run()
            result.wait_until_finish()
            counts = job_counts(result)
            write_summary(rejects, counts, read)
        require_few(counts, read, max_reject_share, place)
        manifest = finish_folder(folder, field, made_with(counts))
    rejected = {table: counts.get(f"rejected/{table}", 0) for table in read}
    seconds = round(time.monotonic() - started, 1)
    summary = {**manifest, "rejected": rejected, "seconds": seconds}
    _LOG.info("%s: %s", room, json.dumps(summary))
    return summary


def time_argument(text: str) -> int:
    """Microseconds since 1970 of an ISO 8601 time, for `argparse`."""
    return microseconds(datetime.fromisoformat(text))


def moment(time: int) -> datetime | None:
    """The time in UTC; None for `NO_TIME`."""
    return None if time == NO_TIME else _EPOCH + timedelta(microseconds=time)


def iso(time: int | None) -> str | None:
    """ISO 8601 text of a time in microseconds, for a manifest."""
    found = None if time is None else moment(time)
    return found.isoformat() if found else None


def common_parser(job: str, description: str) -> argparse.ArgumentParser:
    """Options of every enrichment job; options that it does not know go to Beam."""
    parser = argparse.ArgumentParser(
        prog=f"python -m beam_pipelines.{job}",
        description=f"{description} Further options go to Beam, e.g. --direct_num_workers=2 "
        "--direct_running_mode=multi_processing.",
    )
    parser.add_argument("--input", required=True, help="folder of the tables")
    parser.add_argument("--output", required=True, help=f"folder in which {job} appears")
    parser.add_argument("--max_reject_share", type=float, help="of a table's rows; default: 0.01")
    return parser


def add_period(parser: argparse.ArgumentParser) -> None:
    """Options of what may be known: the split settings of `preprocess`, and an earlier end."""
    for name in ("seed", "validation_share", "test_share"):
        field = PreprocessConfig.model_fields[name]
        kind: Any = field.annotation
        parser.add_argument(
            f"--{name}", type=kind, help=f"as of preprocess; default: {field.default}"
        )
    parser.add_argument(
        "--until", type=time_argument, help="ISO 8601: nothing at or after it is known"
    )


def split_config(known: argparse.Namespace) -> PreprocessConfig:
    """The settings of `preprocess` that the options of `add_period` and the parser give."""
    names = ("seed", "validation_share", "test_share", "max_reject_share")
    given = {name: getattr(known, name, None) for name in names}
    return PreprocessConfig(**{name: value for name, value in given.items() if value is not None})
