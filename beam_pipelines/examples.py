"""Pairs joined with the records of both sides.

            pairs ── by query id ──┐
                                    ├─ JoinQuery ── by candidate id ──┐
  records of products and pins ────┤                                  ├─ JoinCandidate ─ examples
                                    └─────────────────────────────────┘

Texts (search queries, query candidates) are their own records and take part under a key of
their own, without a partner. Where entities have engaged queries, their histories join as well.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam

from beam_pipelines.engagements import Pair
from beam_pipelines.enrichments import ForPairs, History
from beam_pipelines.ngram_ids import NgramIds
from beam_pipelines.records import EntityKey, Record, prefixed, seeded_key, serialize
from beam_pipelines.rejects import REJECTS, dead_letter, reject_row
from tfrs_sage.schema.features import CANDIDATE_PREFIX, ID, QUERY_PREFIX, Task
from tfrs_sage.schema.rows import Problem
from tfrs_sage.schema.tables import ENTITY_TABLE


def text_record(text: str) -> Record:
    """The record of a query text, which is its own id."""
    return ((ID, text.encode()), ("text", text.encode()))


class JoinExamples(beam.PTransform):
    """`{"pairs": Pair, "records": (EntityKey, Record)}` -> `(split/task, Entry)`; `rejects`.

    A further input `histories`, `(EntityKey, (text, History))`, dates the queries.

    Args:
        seed: of the shuffle.
        ids: where records hold the n-gram ids of their texts.
    """

    def __init__(self, seed: int, ids: NgramIds | None = None) -> None:
        super().__init__()
        self._seed = seed
        self._for_pairs = ForPairs(ids)

    def expand(self, inputs: Any) -> Any:  # (main, rejects)
        keyed = inputs["pairs"] | "ByQuery" >> beam.Map(by_query)
        with_query = (
            {**inputs, "pairs": keyed}
            | "QueryGroups" >> beam.CoGroupByKey()
            | "JoinQuery"
            >> beam.ParDo(JoinQuery(self._for_pairs)).with_outputs(REJECTS, main="good")
        )
        examples = (
            {**inputs, "pairs": with_query.good}
            | "CandidateGroups" >> beam.CoGroupByKey()
            | "JoinCandidate"
            >> beam.ParDo(JoinCandidate(self._seed, self._for_pairs)).with_outputs(
                REJECTS, main="good"
            )
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


def _records(
    key: EntityKey, groups: Mapping[str, Any], pairs: Sequence[Pair], for_pairs: ForPairs
) -> list[Record] | list[None]:
    """The record of a key for each of its pairs; None for all when the reference is unknown."""
    record = _record_of(key, groups["records"])
    if record is None:
        return [None] * len(pairs)
    histories: list[tuple[str, History]] = list(groups.get("histories", ()))
    return for_pairs.records(record, histories, pairs)


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

    def __init__(self, for_pairs: ForPairs) -> None:
        self._for_pairs = for_pairs

    def process(self, element: tuple[EntityKey, Mapping[str, Any]]) -> Iterator[Any]:
        key, groups = element
        values_of_pairs = list(groups["pairs"])
        records = _records(key, groups, [Pair(*v) for v in values_of_pairs], self._for_pairs)
        for values, record in zip(values_of_pairs, records, strict=True):
            pair = Pair(*values)
            if record is None:
                yield from reject_row([_unknown(pair, "query", key)])
            yield (Task.parse(pair.task).candidate_type, pair.candidate), (values, record)


class JoinCandidate(beam.DoFn):
    """Groups of a candidate -> `(split/task, (sort key, serialized example))`."""

    def __init__(self, seed: int, for_pairs: ForPairs) -> None:
        self._seed = seed
        self._for_pairs = for_pairs

    def process(self, element: tuple[EntityKey, Mapping[str, Any]]) -> Iterator[Any]:
        key, groups = element
        members = list(groups["pairs"])
        records = _records(key, groups, [Pair(*values) for values, _ in members], self._for_pairs)
        for (values, query_record), record in zip(members, records, strict=True):
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
