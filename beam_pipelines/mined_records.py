"""Pairs joined with the vectors of their queries, then with the records of their negatives.

    pairs ────── by query ──┐
                            ├─ JoinVectors ─ batches ─ ChooseNegatives ─ by negative ─┐
    query embeddings ───────┘                                                         │
    catalogue ── by id ───────────────────────────────────────────────────────── JoinRecord
                                                                                      │
    pairs ────── by pair ──────────────────────────────────────────────────────── JoinPair

No worker holds the queries: they pass by. Each holds the candidates' index, mapped from its file.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow.parquet as pq

from beam_pipelines.counters import count
from beam_pipelines.hard_negatives import (
    AssignBatch,
    ChooseNegatives,
    JoinVectors,
    MiningConfig,
    PairKey,
    group_of,
)
from beam_pipelines.records import Entry, seeded_key
from tfrs_sage.schema.features import CANDIDATE_PREFIX, ID, NEGATIVE_PREFIX, QUERY_PREFIX

VECTOR_BATCH = 4096


def _records(path: str) -> Iterator[tuple[bytes, Any]]:
    """Serialized and parsed records of a TFRecord file."""
    import tensorflow as tf
    from tensorflow.core.example import example_pb2

    for serialized in tf.data.TFRecordDataset(path).as_numpy_iterator():
        yield serialized, example_pb2.Example.FromString(serialized).features.feature


def _text(features: Any, name: str) -> str:
    value: bytes = features[name].bytes_list.value[0]
    return value.decode()


class ReadPairs(beam.DoFn):
    """`(task, path)` -> `(PairKey, serialized record)`."""

    def process(self, element: tuple[str, str]) -> Iterator[tuple[PairKey, bytes]]:
        task, path = element
        for serialized, features in _records(path):
            query = _text(features, QUERY_PREFIX + ID)
            yield (task, query, _text(features, CANDIDATE_PREFIX + ID)), serialized


class ReadCatalogue(beam.DoFn):
    """`(entity, path)` -> `((entity, id), serialized record)`."""

    def process(self, element: tuple[str, str]) -> Iterator[tuple[tuple[str, str], bytes]]:
        entity, path = element
        for serialized, features in _records(path):
            yield (entity, _text(features, ID)), serialized


class ReadVectors(beam.DoFn):
    """`(group, path of embeddings)` -> `((group, id), vector as float32 bytes)`."""

    def process(self, element: tuple[str, str]) -> Iterator[tuple[tuple[str, str], bytes]]:
        group, path = element
        for batch in pq.ParquetFile(path).iter_batches(VECTOR_BATCH, columns=["id", "embedding"]):
            flat = batch.column("embedding").flatten().to_numpy().astype(np.float32, copy=False)
            vectors = flat.reshape(len(batch), -1)
            for identifier, vector in zip(batch.column("id").to_pylist(), vectors, strict=True):
                yield (group, identifier), vector.tobytes()


class JoinRecord(beam.DoFn):
    """Groups of a negative -> `(PairKey, serialized record of the negative)`.

    Negatives that the catalogue lacks are counted.
    """

    def process(
        self, element: tuple[tuple[str, str], Mapping[str, Any]]
    ) -> Iterator[tuple[PairKey, bytes]]:
        _, joined = element
        record = next(iter(joined["records"]), None)
        for key in joined["chosen"]:
            if record is None:
                count("unknown/negative")
            else:
                yield key, record


class JoinPair(beam.DoFn):
    """Groups of a pair -> `(task, (sort key, serialized record))`, with its negative if any."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def process(self, element: tuple[PairKey, Mapping[str, Any]]) -> Iterator[tuple[str, Entry]]:
        from tensorflow.core.example import example_pb2

        key, joined = element
        (serialized,) = joined["pairs"]
        negative = next(iter(joined["negatives"]), None)
        if negative is not None:
            pair = example_pb2.Example.FromString(serialized)
            for name, value in example_pb2.Example.FromString(negative).features.feature.items():
                pair.features.feature[NEGATIVE_PREFIX + name].CopyFrom(value)
            serialized = pair.SerializeToString(deterministic=True)
        yield key[0], (seeded_key(self._seed, "mined", *key), serialized)


class MineNegatives(beam.PTransform):
    """`{"pairs", "vectors", "records"}` as the readers give them -> `(task, Entry)`.

    Args:
        indexes: folder of the index of each candidate entity.
        tasks: whose pairs get negatives and are written.
        config: settings.
    """

    def __init__(
        self, indexes: Mapping[str, Path], tasks: Sequence[str], config: MiningConfig
    ) -> None:
        super().__init__()
        self._tasks = frozenset(tasks)
        self._choose = ChooseNegatives(indexes, tasks, config)
        self._seed = config.seed

    def expand(self, inputs: Any) -> beam.PCollection:
        asked = (
            {
                "pairs": inputs["pairs"] | "ByQuery" >> beam.Map(by_query),
                "vectors": inputs["vectors"],
            }
            | "QueryGroups" >> beam.CoGroupByKey()
            | "JoinVectors" >> beam.ParDo(JoinVectors())
        )
        num_queries = (
            asked | "Groups" >> beam.Keys() | "Queries" >> beam.combiners.Count.PerElement()
        )
        chosen = (
            asked
            | "AssignBatch" >> beam.ParDo(AssignBatch(), beam.pvalue.AsDict(num_queries))
            | "Batches" >> beam.GroupByKey()
            | "Choose" >> beam.ParDo(self._choose)
        )
        negatives = (
            {"chosen": chosen, "records": inputs["records"]}
            | "NegativeGroups" >> beam.CoGroupByKey()
            | "JoinRecord" >> beam.ParDo(JoinRecord())
        )
        wanted = inputs["pairs"] | "OfTasks" >> beam.Filter(is_of, self._tasks)
        return (
            {"pairs": wanted, "negatives": negatives}
            | "PairGroups" >> beam.CoGroupByKey()
            | "JoinPair" >> beam.ParDo(JoinPair(self._seed))
        )


def by_query(element: tuple[PairKey, bytes]) -> tuple[tuple[str, str], tuple[str, str]]:
    """`((group, query), (task, candidate))`: without the record, which is large."""
    (task, query, candidate), _ = element
    return (group_of(task), query), (task, candidate)


def is_of(element: tuple[PairKey, bytes], tasks: frozenset[str]) -> bool:
    return element[0][0] in tasks
