"""Records between the steps, and as shuffled TFRecord shards of bounded size."""

import hashlib
import heapq
import json
import math
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import apache_beam as beam

from tfrs_sage.artefacts import file_sha256

# A record between the steps: its non-empty fields in a fixed order. Small to ship, and made into
# a tf.train.Example only where it is written.
Record = tuple[tuple[str, bytes], ...]
EntityKey = tuple[str, str]  # (entity, id): what records and pairs are joined by
# What is written: (sort key, serialized tf.train.Example).
Entry = tuple[bytes, bytes]
STATISTICS = ".files"  # sub-folder in which writers leave what they wrote, for the manifest


def seeded_key(seed: int, *parts: str) -> bytes:
    """8 bytes that depend on the seed and the parts alone, evenly spread."""
    digest = hashlib.blake2b(digest_size=8, key=str(seed).encode())
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.digest()


def prefixed(record: Record, prefix: str) -> Record:
    """The record with `prefix` before every field name."""
    return tuple((prefix + name, value) for name, value in record)


def serialize(record: Record) -> bytes:
    """The record as a deterministic serialized tf.train.Example."""
    from tensorflow.core.example import example_pb2  # TensorFlow: imported in workers only

    example = example_pb2.Example()
    features = example.features.feature
    for name, value in record:
        features[name].bytes_list.value.append(value)
    serialized: bytes = example.SerializeToString(deterministic=True)
    return serialized


class WriteShards(beam.PTransform):
    """`(group, Entry)` -> nothing: writes each group as shards under `folder`.

    The number of shards follows from the bytes of the group, measured before anything is written.
    An entry's key, a seeded hash, says both its shard and its place in it: the order is shuffled,
    and the same for the same input. A worker holds one shard at a time.

    Args:
        folder: the folder to fill; every worker must reach it.
        shard_bytes: size of a shard, at most but for the chances of hashing.
    """

    def __init__(self, folder: Path, shard_bytes: int) -> None:
        super().__init__()
        self._folder = folder
        self._shard_bytes = shard_bytes

    def expand(self, entries: beam.PCollection) -> beam.PCollection:
        group_bytes = (
            entries
            | "Measure" >> beam.ParDo(MeasureGroups())
            | "SumBytes" >> beam.CombinePerKey(sum)
        )
        return (
            entries
            | "Shard" >> beam.ParDo(AssignShard(self._shard_bytes), beam.pvalue.AsDict(group_bytes))
            | "GatherShard" >> beam.GroupByKey()
            | "Write" >> beam.ParDo(WriteShard(self._folder))
        )


class MeasureGroups(beam.DoFn):
    """`(group, Entry)` -> `(group, bytes)`, summed within a bundle."""

    def start_bundle(self) -> None:
        self._bytes: dict[str, int] = {}

    def process(self, element: tuple[str, Entry]) -> None:
        group, (_, serialized) = element
        # A TFRecord frames its payload in 16 bytes.
        self._bytes[group] = self._bytes.get(group, 0) + len(serialized) + 16

    def finish_bundle(self) -> Iterator[Any]:
        for group, size in self._bytes.items():
            yield beam.transforms.window.GlobalWindows.windowed_value((group, size))


class AssignShard(beam.DoFn):
    """`(group, Entry)` -> `((group, shard, number of shards), Entry)`."""

    def __init__(self, shard_bytes: int) -> None:
        self._shard_bytes = shard_bytes

    def process(
        self, element: tuple[str, Entry], group_bytes: Mapping[str, int]
    ) -> Iterator[tuple[tuple[str, int, int], Entry]]:
        group, entry = element
        # A tenth of room, since hashing fills shards unevenly.
        num_shards = math.ceil(group_bytes[group] * 1.1 / self._shard_bytes)
        yield (group, int.from_bytes(entry[0], "little") % num_shards, num_shards), entry


class WriteShard(beam.DoFn):
    """`((group, shard, number of shards), entries)` -> nothing: one TFRecord file.

    The file is written beside its name and renamed, so a bundle that runs twice does no harm.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def process(self, element: tuple[tuple[str, int, int], Iterable[Entry]]) -> None:
        import tensorflow as tf

        (group, shard, num_shards), entries = element
        relative = f"{group}-{shard:05d}-of-{num_shards:05d}.tfrecord"
        path = self._folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        records = 0
        with tf.io.TFRecordWriter(str(beside)) as writer:
            for _, serialized in sorted(entries):
                writer.write(serialized)
                records += 1
        statistics = {
            "group": group,
            "file": relative,
            "records": records,
            "bytes": beside.stat().st_size,
            "sha256": file_sha256(beside),
        }
        beside.replace(path)
        leave(self._folder, relative, statistics)


def leave(folder: Path, name: str, value: Any) -> None:
    """Leaves `value` for `collect`, under a name that no other worker uses."""
    place = folder / STATISTICS
    place.mkdir(parents=True, exist_ok=True)
    target = place / f"{hashlib.sha256(name.encode()).hexdigest()}.json"
    beside = target.with_name(f".{uuid.uuid4().hex}")
    beside.write_text(json.dumps(value), encoding="utf-8")
    beside.replace(target)


def collect(folder: Path) -> list[Any]:
    """Takes back everything that workers left in a folder, and removes it."""
    place = folder / STATISTICS
    if not place.is_dir():
        return []
    values = []
    for path in sorted(place.iterdir()):
        if path.suffix == ".json":
            values.append(json.loads(path.read_text(encoding="utf-8")))
        path.unlink()
    place.rmdir()
    return values


def files_of(statistics: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The `files` of a manifest: records, bytes and sha256 by relative path, in order."""
    by_name = {value["file"]: value for value in statistics}
    return {
        name: {key: by_name[name][key] for key in ("records", "bytes", "sha256")}
        for name in sorted(by_name)
    }


class KeepLeast(beam.CombineFn):
    """The `limit` smallest values of a key, in ascending order, in bounded memory.

    As Beam's `Top.SmallestPerKey`, but on plain comparable tuples, which is several times faster:
    values gather up to twice the limit before they are cut down.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def create_accumulator(self) -> list[Any]:
        return []

    def add_input(self, accumulator: list[Any], element: Any) -> list[Any]:
        accumulator.append(element)
        return self.compact(accumulator) if len(accumulator) >= 2 * self._limit else accumulator

    def merge_accumulators(self, accumulators: Iterable[list[Any]]) -> list[Any]:
        merged: list[Any] = []
        for accumulator in accumulators:
            merged.extend(accumulator)
            if len(merged) >= 2 * self._limit:
                merged = self.compact(merged)
        return merged

    def compact(self, accumulator: list[Any]) -> list[Any]:
        if len(accumulator) > self._limit:
            return heapq.nsmallest(self._limit, accumulator)
        return accumulator

    def extract_output(self, accumulator: list[Any]) -> list[Any]:
        return sorted(accumulator)[: self._limit]
