"""Example files -> batches of the model, in a fixed order that can start at any step."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrs_sage.errors import InputError
from tfrs_sage.schema.features import CANDIDATE_PREFIX, ID, QUERY_PREFIX, Task
from tfrs_sage.towers.features import id_fingerprint, parse_records
from tfrs_sage.training.assemble import Assembly
from tfrs_sage.training.config import TrainingConfig
from tfrs_sage.types import Tensor

MIN_SUB_BATCH = 8


def sub_batch_sizes(
    assembly: Assembly, config: TrainingConfig, pairs: Mapping[str, int]
) -> dict[str, int]:
    """Pairs of each task in a step.

    A task's own `batch_size` where the config gives one; the rest of `batch_size` is divided in
    proportion to the square root of the tasks' pairs, so that rare tasks are seen more often than
    their share and common ones still most.
    """
    sizes = {n: t.batch_size for n, t in assembly.tasks.items() if t.batch_size is not None}
    rest = [name for name in assembly.tasks if name not in sizes]
    left = max(config.batch_size - sum(sizes.values()), MIN_SUB_BATCH * len(rest))
    total = sum(math.sqrt(pairs[name]) for name in rest)
    for name in rest:
        share = math.sqrt(pairs[name]) / total
        sizes[name] = max(MIN_SUB_BATCH, round(left * share))
    return sizes


def example_files(folder: Path, stem: str) -> list[str]:
    """The shards of one task or entity, in order.

    Raises:
        InputError: there is none, or one of the set is absent.
    """
    files = sorted(folder.glob(f"{stem}-?????-of-?????.tfrecord"))
    expected = int(files[0].name.split("-of-")[1].split(".")[0]) if files else 1
    if len(files) != expected:
        raise InputError(
            f"{folder / stem} must have {expected} shard(s) of the same set. Found: {len(files)}. "
            "Run preprocess again."
        )
    return [str(file) for file in files]


def _records(
    files: list[str], batch_size: int, config: TrainingConfig, seed: int
) -> tf.data.Dataset:
    """Endless batches of serialized records; the order depends on the seed alone."""
    names = tf.data.Dataset.from_tensor_slices(files).shuffle(len(files), seed=seed)
    records = names.interleave(tf.data.TFRecordDataset, cycle_length=min(8, len(files)))
    records = records.shuffle(config.shuffle_buffer, seed=seed).repeat()
    return records.batch(batch_size, drop_remainder=True)


def _parse_pairs(assembly: Assembly, task: Task) -> Callable[[Tensor], dict[str, Any]]:
    def parse(serialized: Tensor) -> dict[str, Any]:
        pairs: dict[str, Any] = {}
        for side, entity, prefix in (
            ("query", task.query_entity, QUERY_PREFIX),
            ("candidate", task.candidate_type, CANDIDATE_PREFIX),
        ):
            raw = parse_records(serialized, assembly.specs[entity], prefix)
            pairs[side] = assembly.features[entity](raw)
            pairs[f"{side}_id"] = id_fingerprint(raw[ID])
        return pairs

    return parse


def _parse_entities(assembly: Assembly, entity: str) -> Callable[[Tensor], dict[str, Any]]:
    def parse(serialized: Tensor) -> dict[str, Any]:
        raw = parse_records(serialized, assembly.specs[entity])
        return {"features": assembly.features[entity](raw), "id": id_fingerprint(raw[ID])}

    return parse


def training_batches(
    run_dir: Path, assembly: Assembly, config: TrainingConfig, pairs: Mapping[str, int], start: int
) -> tf.data.Dataset:
    """Endless batches for `RetrievalModel`, from step `start` of the run's fixed order.

    Args:
        run_dir: holds `examples/` and `catalogue/`.
        assembly: the model and its feature functions.
        config: batch sizes, seed, shuffle.
        pairs: training pairs of each task.
        start: int, batches to leave out: serialized records are skipped, not parsed.
    """
    serialized: dict[str, Any] = {"pairs": {}, "random": {}}
    for i, (name, size) in enumerate(sub_batch_sizes(assembly, config, pairs).items()):
        files = example_files(run_dir / "examples" / "train" / Path(name).parent, Path(name).name)
        serialized["pairs"][name] = _records(files, size, config, config.seed + i)
    if assembly.model.needs_random_negatives:
        for i, entity in enumerate(assembly.model.random_sketches):
            files = example_files(run_dir / "catalogue", entity)
            serialized["random"][entity] = _records(
                files, config.random_negatives, config, config.seed + 1000 + i
            )
    parse_pairs = {n: _parse_pairs(assembly, Task.parse(n)) for n in serialized["pairs"]}
    parse_entities = {e: _parse_entities(assembly, e) for e in serialized["random"]}
    if not serialized["random"]:
        del serialized["random"]

    def parse(batch: dict[str, Any]) -> dict[str, Any]:
        parsed = {"pairs": {n: parse_pairs[n](v) for n, v in batch["pairs"].items()}}
        if "random" in batch:
            parsed["random"] = {e: parse_entities[e](v) for e, v in batch["random"].items()}
        return parsed

    batches = tf.data.Dataset.zip(serialized).skip(start)
    return batches.map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(2)
