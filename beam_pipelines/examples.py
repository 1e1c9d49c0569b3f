"""Pairs joined with the records of both sides.

            pairs ── by query id ──┐
                                    ├─ JoinQuery ── by candidate id ──┐
  records of products and pins ────┤                                  ├─ JoinCandidate ─ examples
                                    └─────────────────────────────────┘

Texts (search queries, query candidates) are their own records and take part under a key of
their own, without a partner.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam

from beam_pipelines.engagements import Pair
from beam_pipelines.records import EntityKey, Record, prefixed, seeded_key, serialize
from beam_pipelines.rejects import REJECTS, dead_letter, reject_row
from tfrs_sage.schema.features import CANDIDATE_PREFIX, ID, QUERY_PREFIX, Task
from tfrs_sage.schema.rows import Problem
from tfrs_sage.schema.tables import ENTITY_TABLE


def text_record(text: str) -> Record:
    """The record of a query text, which is its own id."""
    return ((ID, text.encode()), ("text", text.encode()))


class JoinExamples(beam.PTransform):
    """`{"pairs": Pair, "records": (EntityKey, Record)}` -> `(split/task, Entry)`; `rejects`."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed

    def expand(self, inputs: Any) -> Any:  # (main, rejects)
        keyed = inputs["pairs"] | "ByQuery" >> beam.Map(by_query)
        with_query = (
            {"pairs": keyed, "records": inputs["records"]}
            | "QueryGroups" >> beam.CoGroupByKey()
            | "JoinQuery" >> beam.ParDo(JoinQuery()).with_outputs(REJECTS, main="good")
        )
        examples = (
            {"pairs": with_query.good, "records": inputs["records"]}
            | "CandidateGroups" >> beam.CoGroupByKey()
            | "JoinCandidate"
            >> beam.ParDo(JoinCandidate(self._seed)).with_outputs(REJECTS, main="good")
        )
        rejects = (with_query[REJECTS], examples[REJECTS]) | "AllRejects" >> beam.Flatten()
        return examples.good, rejects


def by_query(element: tuple[Any, ...]) -> tuple[EntityKey, tuple[Any, ...]]:
    """`((entity, query), pair)`."""
    pair = Pair(*element)
    return (Task.parse(pair.task).query_entity, pair.query), element


def _record_of(key: EntityKey, records: Iterable[Record]) -> Record | None:
    """The record of a key: found, made from the text, or None when the reference is unknown."""
    entity, identifier = key
    if entity == "query":
        return text_record(identifier)
    return next(iter(records), None)


def _unknown(pair: Pair, column: str, key: EntityKey) -> Problem:
    entity, identifier = key
    return Problem(
        "engagements",
        pair.row,
        column,
        repr(identifier),
        f"an id that table {ENTITY_TABLE[entity]} has",
        pair.source,
        "reference",
    )


class JoinQuery(beam.DoFn):
    """Groups of a query -> `((candidate type, candidate), (pair, query Record or None))`.

    A pair without its query goes on with None, so that an unknown candidate is told as well.
    """

    def process(self, element: tuple[EntityKey, Mapping[str, Any]]) -> Iterator[Any]:
        key, groups = element
        record = _record_of(key, groups["records"])
        for values in groups["pairs"]:
            pair = Pair(*values)
            if record is None:
                yield from reject_row([_unknown(pair, "query", key)])
            yield (Task.parse(pair.task).candidate_type, pair.candidate), (values, record)


class JoinCandidate(beam.DoFn):
    """Groups of a candidate -> `(split/task, (sort key, serialized example))`."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def process(self, element: tuple[EntityKey, Mapping[str, Any]]) -> Iterator[Any]:
        key, groups = element
        record = _record_of(key, groups["records"])
        for values, query_record in groups["pairs"]:
            pair = Pair(*values)
            if record is None:
                problem = _unknown(pair, "candidate", key)
                # A row whose query is unknown too is counted as rejected already.
                known_query = query_record is not None
                yield from reject_row([problem]) if known_query else [dead_letter(problem)]
            elif query_record is not None:
                fields = prefixed(query_record, QUERY_PREFIX) + prefixed(record, CANDIDATE_PREFIX)
                order = seeded_key(
                    self._seed, "shuffle", pair.task, pair.split, pair.query, pair.candidate
                )
                yield f"{pair.split}/{pair.task}", (order, serialize(fields))
