"""From the pairs of a query to a hard negative of each: search, filter, choose.

A query's pairs of all actions travel together, so that what is a positive of one action is a
negative of none. Queries are searched in batches whose members follow from a hash, never from
how a runner bundles them: a matrix product rounds by its shape, so only batches with the same rows
in the same order give the same scores to the bit, and with them the same choice.
"""

import logging
import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.utils.shared import Shared
from numpy.typing import NDArray

from beam_pipelines.counters import count
from beam_pipelines.mining_counts import MILLIONTHS
from beam_pipelines.records import seeded_key
from tfrs_sage.errors import InputError
from tfrs_sage.index import load_index
from tfrs_sage.schema.features import QUERY_ENTITY

_LOG = logging.getLogger(__name__)
QUERY_BATCH = 256  # queries that are searched together
LOG_SECONDS = 10.0
# What a pair is known by: (task, query, candidate).
PairKey = tuple[str, str, str]
# A query on its way: (query, its vector as float32 bytes, its (task, candidate) in order).
Asked = tuple[str, bytes, tuple[tuple[str, str], ...]]


@dataclass(frozen=True)
class MiningConfig:
    """What is looked at, and what is let through.

    Attributes:
        depth: nearest candidates of a query that are looked at.
        margin: a candidate is taken for an unlabelled positive, and dropped, when its score is
            above the positive's score less this; cosine, as the towers' vectors have length 1.
            This is TopK-MarginPos of NV-Retriever (arXiv 2407.15831). The paper's other filter,
            a share of the positive's score (TopK-PercPos), is not offered: for a positive scored
            below 0 it would let through what is nearer than the positive.
        skip_top: so many of the nearest are left out, whatever their score.
        seed: of the choice among what is left.
        exact_below: fewer candidates than this are searched exactly, more with ScaNN.

    Raises:
        InputError: a value out of its range.
    """

    depth: int = 50
    margin: float = 0.05
    skip_top: int = 0
    seed: int = 0
    exact_below: int = 20_000

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise InputError(f"`depth` must be at least 1. Received: {self.depth}. Take e.g. 50.")
        if not 0 <= self.margin < 2:
            raise InputError(
                "`margin` is a difference of two cosines, at least 0 and below 2. Received: "
                f"{self.margin}. Take e.g. 0.05, or 0 to drop only what is above the positive."
            )
        if not 0 <= self.skip_top < self.depth:
            raise InputError(
                f"`skip_top` must be at least 0 and below the depth of {self.depth}. Received: "
                f"{self.skip_top}. Skip fewer, or look deeper."
            )


def group_of(task: str) -> str:
    """`query_type/candidate_type` of a task: what its actions have in common."""
    return task.rsplit("/", 1)[0]


class JoinVectors(beam.DoFn):
    """Groups of a query -> `(group, Asked)`; queries without a vector are counted."""

    def process(self, element: tuple[tuple[str, str], Mapping[str, Any]]) -> Iterator[Any]:
        (group, query), joined = element
        pairs = tuple(sorted(joined["pairs"]))
        if not pairs:
            return
        vector = next(iter(joined["vectors"]), None)
        if vector is None:
            count("unknown/query")
        else:
            yield group, (query, vector, pairs)


class AssignBatch(beam.DoFn):
    """`(group, Asked)` -> `((group, batch), Asked)`, about `QUERY_BATCH` queries in each."""

    def process(
        self, element: tuple[str, Asked], num_queries: Mapping[str, int]
    ) -> Iterator[tuple[tuple[str, int], Asked]]:
        group, asked = element
        num_batches = math.ceil(num_queries[group] / QUERY_BATCH)
        place = int.from_bytes(seeded_key(0, "batch", group, asked[0]), "little")
        yield (group, place % num_batches), asked


class Candidates:
    """An entity's index, and the row of each id in it."""

    def __init__(self, folder: Path) -> None:
        self.index = load_index(folder)
        self.rows = {one: row for row, one in enumerate(self.index.ids)}


class ChooseNegatives(beam.DoFn):
    """`((group, batch), Asked)` -> `((entity, negative id), PairKey)`.

    Of a pair's nearest candidates are dropped, in this order: the nearest `skip_top`; the known
    positives, which are the query's candidates of any action, and the query itself where it is
    a candidate; those above the pair's own score less the margin. One of the rest is chosen by
    a hash of the seed and the pair. A pair without a rest gives nothing.

    Args:
        folders: folder of the index of each candidate entity, which every worker must reach.
        tasks: those whose pairs get a negative; the others only tell positives.
        config: settings.
    """

    def __init__(
        self, folders: Mapping[str, Path], tasks: Sequence[str], config: MiningConfig
    ) -> None:
        self._folders = dict(folders)
        self._shared = {entity: Shared() for entity in folders}  # loaded once a process
        self._tasks = frozenset(tasks)
        self._config = config

    def setup(self) -> None:
        self._loaded: dict[str, Candidates] = {}
        self._searched, self._logged = 0, time.monotonic()

    def process(self, element: tuple[tuple[str, int], Iterable[Asked]]) -> Iterator[Any]:
        (group, _), batch = element
        query_type, entity = group.split("/")
        asked = sorted(batch)
        found = self._candidates(entity)
        vectors = np.stack([np.frombuffer(vector, np.float32) for _, vector, _ in asked])
        rows, scores = found.index.search_rows(vectors, self._config.depth)  # [queries, depth]
        counts: Counter[str] = Counter()
        for place, (query, _, pairs) in enumerate(asked):
            names = found.index.ids[rows[place]]
            positives = {candidate for _, candidate in pairs}
            if QUERY_ENTITY[query_type] == entity:
                positives.add(query)
            known = np.array([name in positives for name in names])
            for task, candidate in pairs:
                if task not in self._tasks:
                    continue
                if candidate not in found.rows:
                    counts["unknown/candidate"] += 1
                    continue
                score = float(found.index.vectors[found.rows[candidate]] @ vectors[place])
                key = (task, query, candidate)
                chosen = self._choose(key, score, known, scores[place], counts)
                if chosen is not None:
                    yield (entity, str(names[chosen])), key
        for name, number in counts.items():
            count(name, number)
        self._note(len(asked))

    def _choose(
        self,
        key: PairKey,
        positive_score: float,
        known: NDArray[np.bool_],
        scores: NDArray[np.float32],
        counts: Counter[str],
    ) -> int | None:
        """Place of the pair's negative among its nearest, best first; None where all drop out."""
        kept = np.arange(len(scores)) >= self._config.skip_top
        left = kept & ~known
        near = left & (scores > positive_score - self._config.margin)
        places = np.flatnonzero(left & ~near)
        task = key[0]
        counts[f"{task}/pairs"] += 1
        counts[f"{task}/candidates"] += len(scores)
        counts[f"{task}/skipped_top"] += int((~kept).sum())
        counts[f"{task}/known_positives"] += int((kept & known).sum())
        counts[f"{task}/within_margin"] += int(near.sum())
        counts[f"{task}/left"] += len(places)
        if not len(places):
            return None
        draw = int.from_bytes(seeded_key(self._config.seed, "negative", *key), "little")
        chosen = int(places[draw % len(places)])
        counts[f"{task}/with_negative"] += 1
        counts[f"{task}/rank_sum"] += chosen + 1
        counts[f"{task}/score_sum"] += round(float(scores[chosen]) * MILLIONTHS)
        return chosen

    def _candidates(self, entity: str) -> Candidates:
        if entity not in self._loaded:
            folder = self._folders[entity]
            self._loaded[entity] = self._shared[entity].acquire(lambda: Candidates(folder))
        return self._loaded[entity]

    def _note(self, number: int) -> None:
        self._searched += number
        if time.monotonic() - self._logged > LOG_SECONDS:
            self._logged = time.monotonic()
            _LOG.info("%d queries searched by this worker", self._searched)
