"""The searches that most often led to a pin or product.

    python -m beam_pipelines.engaged_queries --input TABLES --output FOLDER [--until=... ...]

OmniSearchSage section 3 (arXiv 2404.16260): the queries that led to an engagement with an entity
within the last two years, the 20 most frequent with their counts. Of all enrichments it gives
most, and it is the one that can leak: only rows of the train split are read (`past_engagements`).

A query's first engagement is written beside it, so that `preprocess` can hide from a training pair
the query that it is itself, and not one that had led there before (`enrichments`).
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam

from beam_pipelines.command_line import run_job
from beam_pipelines.counters import count
from beam_pipelines.engagements import NO_TIME
from beam_pipelines.enrichment_job import (
    add_period,
    common_parser,
    iso,
    moment,
    run_enrichment,
    split_config,
)
from beam_pipelines.enrichment_rows import WriteEnrichment, best_texts, plain
from beam_pipelines.past_engagements import DAY, Past, PastEngagements, split_settings
from beam_pipelines.records import EntityKey, KeepLeast
from tfrs_sage.schema.config import PreprocessConfig
from tfrs_sage.schema.features import Task
from tfrs_sage.schema.tables import ENTITY_TABLE

FIELD = "engaged_queries"
MOST = 20  # OmniSearchSage section 3
WINDOW_DAYS = 730  # two years


def engaged_queries(
    input: str,
    output: str | Path,
    config: PreprocessConfig | None = None,
    until: int | None = None,
    most: int = MOST,
    window_days: int = WINDOW_DAYS,
    pipeline_args: Sequence[str] = (),
) -> dict[str, Any]:
    """Writes `OUTPUT/engaged_queries`: rows of `SCHEMAS["engaged_queries"]` with a manifest.

    Args:
        input: folder of the tables, with `engagements`.
        output: folder of the enrichments.
        config: the settings that `preprocess` gets: they decide the train split.
        until: microseconds since 1970: rows at or after it are not known either. Rows without a
            time are known.
        most: queries that are kept of an entity.
        window_days: how long before the end of the training period a row counts.
        pipeline_args: options of Beam.

    Returns:
        As `run_enrichment`.

    Raises:
        InputError: as `run_enrichment`.
    """
    config = config or PreprocessConfig()

    def build(pipeline: beam.Pipeline, files: Any, folder: Path) -> list[Any]:
        past, end, bad = pipeline | "Past" >> PastEngagements(files, config, until)
        rows = past | "EngagedQueries" >> EngagedQueries(
            beam.pvalue.AsSingleton(end), most, window_days
        )
        _ = rows | "Write" >> WriteEnrichment(FIELD, folder)
        return [bad]

    def made_with(counts: Mapping[str, int]) -> dict[str, Any]:
        return {
            "most": most,
            "window_days": window_days,
            "until": iso(until),
            "splits": split_settings(config),
            "engagements": counts.get("engaged_queries/rows", 0),
            "older_engagements": counts.get("engaged_queries/older", 0),
        }

    tables, share = {"engagements": True}, config.max_reject_share
    return run_enrichment(FIELD, input, output, tables, build, share, made_with, pipeline_args)


class EngagedQueries(beam.PTransform):
    """Past -> rows of the enrichment.

    Args:
        end: side input, when the training period ends in microseconds; `NO_TIME` for never.
        most: queries of an entity.
        window_days: before the end.
    """

    def __init__(self, end: Any, most: int, window_days: int) -> None:
        super().__init__()
        self._end = end
        self._most = most
        self._window = window_days * DAY

    def expand(self, past: beam.PCollection) -> Any:
        return (
            past
            | "Searches" >> beam.FlatMap(searched, self._end, self._window)
            | "CountQueries" >> beam.CombinePerKey(CountAndFirst())
            | "Rank" >> beam.Map(ranked_query)
            | "Best" >> beam.CombinePerKey(KeepLeast(self._most))
            | "ToRow" >> beam.Map(to_row)
        )


def searched(row: Past, end: int, window: int) -> Iterator[tuple[tuple[EntityKey, str], int]]:
    """`(((entity, id), normalised query), time)` of a search for a pin or product."""
    name, query, candidate, time = row
    task = Task.parse(name)
    if task.query_type != "search" or task.candidate_type not in ENTITY_TABLE:
        return
    if time != NO_TIME and time < end - window:
        count("engaged_queries/older")
        return
    count("engaged_queries/rows")
    yield ((task.candidate_type, candidate), plain(query)), time


class CountAndFirst(beam.CombineFn):
    """Times -> how many, and the earliest; `NO_TIME`, which is unknown, is later than all."""

    def create_accumulator(self) -> tuple[int, int | None]:
        return 0, None

    def add_input(self, accumulator: tuple[int, int | None], time: int) -> Any:
        return self.merge_accumulators([accumulator, (1, None if time == NO_TIME else time)])

    def merge_accumulators(self, accumulators: Iterable[tuple[int, int | None]]) -> Any:
        parts = list(accumulators)
        first = min((time for _, time in parts if time is not None), default=None)
        return sum(number for number, _ in parts), first

    def extract_output(self, accumulator: tuple[int, int | None]) -> tuple[int, int]:
        number, first = accumulator
        return number, NO_TIME if first is None else first


def ranked_query(element: tuple[tuple[EntityKey, str], tuple[int, int]]) -> Any:
    """`((entity, id), (-count, query, first time))`: equal counts in the order of the alphabet."""
    (key, query), (number, first) = element
    return key, (-number, query, first)


def to_row(element: tuple[EntityKey, Sequence[tuple[int, str, int]]]) -> dict[str, Any]:
    """A row of `SCHEMAS["engaged_queries"]`."""
    times = [moment(first) for _, _, first in element[1]]
    return {**best_texts(element, FIELD), "first_seen": times}


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """The job from its command line; options that it does not know go to Beam."""
    parser = common_parser("engaged_queries", "Searches that led to a pin or product.")
    add_period(parser)
    parser.add_argument("--most", type=int, default=MOST, help="queries of a pin or product")
    parser.add_argument("--window_days", type=int, default=WINDOW_DAYS, help="how far back")
    known, pipeline_args = parser.parse_known_args(argv)
    return engaged_queries(
        known.input,
        known.output,
        split_config(known),
        known.until,
        known.most,
        known.window_days,
        pipeline_args,
    )


if __name__ == "__main__":
    # Under its own name, so that workers can import what the pipeline refers to.
    from beam_pipelines import engaged_queries as module

    sys.exit(run_job(module.run))
