"""Engagement rows to distinct pairs with a split, at most so many a query and a candidate."""

import datetime
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam

from beam_pipelines.counters import count
from beam_pipelines.records import KeepLeast, seeded_key
from beam_pipelines.rejects import REJECTS, reject_row
from beam_pipelines.splits import TimeHistogram, split_of_query, split_of_time, time_bounds
from beam_pipelines.tables import RowBatch, rows_of
from tfrs_sage.schema.config import PreprocessConfig
from tfrs_sage.schema.features import Task
from tfrs_sage.schema.rows import check_row

NO_TIME = -(2**62)  # older than every timestamp in microseconds
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class Pair(NamedTuple):
    """One engagement on its way: plain values, cheap to ship.

    Attributes:
        task: written query_type/candidate_type/action.
        split: empty until it is known.
        query: id or text.
        candidate: id or text.
        time: microseconds since 1970, or `NO_TIME`.
        source: file of the row.
        row: its number, from 1.
    """

    task: str
    split: str
    query: str
    candidate: str
    time: int
    source: str
    row: int


class ParseEngagements(beam.DoFn):
    """RowBatch -> Pair tuples; bad rows to the side output, rows of users counted and left out."""

    def process(self, batch: RowBatch) -> Iterator[Any]:
        for source, number, row in rows_of(batch):
            problems = check_row("engagements", row, number, source)
            if problems:
                yield from reject_row(problems)
            elif row["query_type"] == "user":
                count("engagements/user_rows")
            else:
                task = Task(row["query_type"], row["candidate_type"], row["action"])
                when = row.get("timestamp")
                yield tuple(
                    Pair(
                        str(task),
                        row.get("split") or "",
                        row["query"],
                        row["candidate"],
                        NO_TIME if when is None else microseconds(when),
                        source,
                        number,
                    )
                )


def microseconds(when: datetime.datetime) -> int:
    """Whole microseconds since 1970, UTC."""
    if when.tzinfo is None:
        when = when.replace(tzinfo=datetime.UTC)
    return (when - _EPOCH) // datetime.timedelta(microseconds=1)


def undecided_time(element: tuple[Any, ...]) -> Iterator[int]:
    """The time of a pair that has one and no split."""
    pair = Pair(*element)
    if not pair.split and pair.time != NO_TIME:
        yield pair.time


class AssignSplit(beam.DoFn):
    """Pair -> `((task, split, query, candidate), (-time, file, row))`."""

    def __init__(self, config: PreprocessConfig) -> None:
        self._config = config

    def process(self, element: tuple[Any, ...], bounds: tuple[int, int]) -> Iterator[Any]:
        pair = Pair(*element)
        split = pair.split
        if not split and pair.time != NO_TIME:
            split = split_of_time(pair.time, bounds)
        elif not split:
            split = split_of_query(Task.parse(pair.task).query_type, pair.query, self._config)
        key = (pair.task, split, pair.query, pair.candidate)
        yield key, (-pair.time, pair.source, pair.row)


class NewestAndCount(beam.CombineFn):
    """`(-time, file, row)` -> the least of them, i.e. the newest, and how many there are."""

    def create_accumulator(self) -> tuple[Any, int]:
        return None, 0

    def add_input(self, accumulator: tuple[Any, int], element: Any) -> tuple[Any, int]:
        newest, number = accumulator
        return (element if newest is None else min(newest, element)), number + 1

    def merge_accumulators(self, accumulators: Iterable[tuple[Any, int]]) -> tuple[Any, int]:
        parts = [part for part in accumulators if part[1]]
        if not parts:
            return self.create_accumulator()
        return min(part[0] for part in parts), sum(part[1] for part in parts)

    def extract_output(self, accumulator: tuple[Any, int]) -> tuple[Any, int]:
        return accumulator


def distinct_pair(element: tuple[tuple[str, str, str, str], tuple[Any, int]]) -> tuple[Any, ...]:
    """The one pair that stands for all rows of a key; the others are counted as merged."""
    (task, split, query, candidate), ((negative_time, source, row), number) = element
    count("engagements/merged", number - 1)
    return tuple(Pair(task, split, query, candidate, -negative_time, source, row))


class Cap(beam.PTransform):
    """Pair -> Pair: at most `limit` of one query, or of one candidate, a task and split.

    The newest are kept; among equally new ones, and where there are no times, a seeded sample.
    The combiner holds twice the limit at most, however hot a key is.

    Args:
        side: `query` or `candidate`.
        limit: pairs to keep.
        seed: of the sample.
    """

    def __init__(self, side: str, limit: int, seed: int) -> None:
        super().__init__()
        self._side = side
        self._limit = limit
        self._seed = seed

    def expand(self, pairs: beam.PCollection) -> beam.PCollection:
        return (
            pairs
            | "Key" >> beam.Map(capping_key, self._side, self._seed)
            | "Keep" >> beam.CombinePerKey(KeepLeast(self._limit))
            | "Kept" >> beam.FlatMap(kept_pairs, self._side)
        )


def capping_key(element: tuple[Any, ...], side: str, seed: int) -> tuple[Any, Any]:
    """`((task, split, query or candidate), (rank..., pair))`; counts what goes in."""
    pair = Pair(*element)
    count(f"cap/{side}/in")
    sample = seeded_key(seed, "cap", pair.query, pair.candidate)
    return (pair.task, pair.split, getattr(pair, side)), (-pair.time, sample, element)


def kept_pairs(element: tuple[Any, list[Any]], side: str) -> Iterator[tuple[Any, ...]]:
    """The kept pairs of a key; counts what comes out."""
    _, ranked = element
    count(f"cap/{side}/out", len(ranked))
    for _, _, pair in ranked:
        yield pair


class SplitPairs(beam.PTransform):
    """RowBatch -> `((task, split, query, candidate), (-time, file, row))` of each good row."""

    def __init__(self, config: PreprocessConfig) -> None:
        super().__init__()
        self._config = config

    def expand(self, batches: beam.PCollection) -> Any:  # (main, rejects)
        config = self._config
        parsed = batches | "Parse" >> beam.ParDo(ParseEngagements()).with_outputs(
            REJECTS, main="good"
        )
        bounds = (
            parsed.good
            | "Times" >> beam.FlatMap(undecided_time)
            | "Histogram" >> beam.CombineGlobally(TimeHistogram())
            | "Bounds" >> beam.Map(time_bounds, config.validation_share, config.test_share)
        )
        split = parsed.good | "Split" >> beam.ParDo(
            AssignSplit(config), beam.pvalue.AsSingleton(bounds)
        )
        return split, parsed[REJECTS]


class MakePairs(beam.PTransform):
    """RowBatch -> Pair with a split, distinct and capped; side output `rejects`."""

    def __init__(self, config: PreprocessConfig) -> None:
        super().__init__()
        self._config = config

    def expand(self, batches: beam.PCollection) -> Any:  # (main, rejects)
        config = self._config
        split, rejects = batches | "SplitPairs" >> SplitPairs(config)
        pairs = (
            split
            | "Merge" >> beam.CombinePerKey(NewestAndCount())
            | "Distinct" >> beam.Map(distinct_pair)
            | "CapQueries" >> Cap("query", config.max_pairs_per_query, config.seed)
            | "CapCandidates" >> Cap("candidate", config.max_pairs_per_candidate, config.seed)
        )
        return pairs, rejects
