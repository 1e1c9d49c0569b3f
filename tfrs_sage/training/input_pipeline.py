"""Example files -> batches of the model, in a fixed order that can start at any step."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrs_sage.artefacts import read_manifest, require_same
from tfrs_sage.errors import InputError
from tfrs_sage.schema.features import (
    CANDIDATE_PREFIX,
    ID,
    NEGATIVE_PREFIX,
    QUERY_PREFIX,
    EntitySpec,
    Task,
)
from tfrs_sage.towers.features import NO_ID, fixed_vectors, id_fingerprint, parse_records
from tfrs_sage.training.assemble import Assembly
from tfrs_sage.training.config import TrainingConfig
from tfrs_sage.types import Tensor

MIN_SUB_BATCH = 8
MINED = "mined"  # folder of the pairs with a hard negative, beside `examples`


def sub_batch_sizes(
    assembly: Assembly,
    config: TrainingConfig,
    pairs: Mapping[str, int],
    num_replicas: int = 1,
) -> dict[str, int]:
    """Pairs of each task in a step, over all replicas.

    A task's own `batch_size` where the config gives one; the rest of `batch_size` is divided in
    proportion to the square root of the tasks' pairs, so that rare tasks are seen more often than
    their share and common ones still most.

    Returns:
        By task, a multiple of `num_replicas`.

    Raises:
        InputError: a size that the config gives cannot be divided among the replicas.
    """
    sizes = {n: t.batch_size for n, t in assembly.tasks.items() if t.batch_size is not None}
    for name, size in sizes.items():
        _require_divisible(f"training.tasks.{name}.batch_size", size, num_replicas)
    rest = [name for name in assembly.tasks if name not in sizes]
    left = max(config.batch_size - sum(sizes.values()), MIN_SUB_BATCH * len(rest))
    total = sum(math.sqrt(pairs[name]) for name in rest)
    least = math.ceil(MIN_SUB_BATCH / num_replicas)
    for name in rest:
        share = left * math.sqrt(pairs[name]) / total
        sizes[name] = num_replicas * max(least, round(share / num_replicas))
    return sizes


def _require_divisible(setting: str, size: int, num_replicas: int) -> None:
    if size % num_replicas:
        raise InputError(
            f"{setting} must be a multiple of the {num_replicas} replicas, each of which takes an "
            f"equal part. Found: {size}. Set it to {math.ceil(size / num_replicas) * num_replicas}."
        )


def pairs_folder(run_dir: Path, config: TrainingConfig) -> Path:
    """Where the pairs of training lie: `examples/train`, or `mined` with hard negatives.

    Raises:
        InputError: hard negatives are wanted and there are none.
    """
    if not config.hard_negatives:
        return run_dir / "examples" / "train"
    folder = run_dir / MINED
    if not folder.is_dir():
        raise InputError(
            f"training.hard_negatives needs the pairs of {folder}. Found: no such folder. Train "
            f"without hard negatives, then run `tfrs-sage mine-negatives --dir {run_dir}`."
        )
    return folder


def require_stored_vocabulary(run_dir: Path, specs: Mapping[str, EntitySpec]) -> None:
    """Refuses n-gram ids that were stored with another vocabulary than the run's.

    Raises:
        InputError: naming both fingerprints.
    """
    for spec in specs.values():
        if spec.ngram_vocabulary is not None:
            expected = read_manifest(run_dir / "vocabulary").get("ngram_vocabulary")
            found = {"ngram_vocabulary": spec.ngram_vocabulary}
            require_same(run_dir / "examples", found, {"ngram_vocabulary": expected})


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


def read_pairs(run_dir: Path, task: str, split: str) -> tuple[list[str], list[str]]:
    """Query ids and candidate ids of a task's pairs in one split."""
    folder = run_dir / "examples" / split / Path(task).parent
    names = {
        side: tf.io.FixedLenFeature([], tf.string)
        for side in (QUERY_PREFIX + ID, CANDIDATE_PREFIX + ID)
    }
    queries: list[str] = []
    candidates: list[str] = []
    files = example_files(folder, Path(task).name)
    for batch in tf.data.TFRecordDataset(files).batch(4096):
        parsed = tf.io.parse_example(batch, names)
        queries += [value.decode() for value in parsed[QUERY_PREFIX + ID].numpy()]
        candidates += [value.decode() for value in parsed[CANDIDATE_PREFIX + ID].numpy()]
    return queries, candidates


def _records(
    files: list[str], batch_size: int, config: TrainingConfig, seed: int
) -> tf.data.Dataset:
    """Endless batches of serialized records; the order depends on the seed alone."""
    names = tf.data.Dataset.from_tensor_slices(files).shuffle(len(files), seed=seed)
    records = names.interleave(tf.data.TFRecordDataset, cycle_length=min(8, len(files)))
    records = records.shuffle(config.shuffle_buffer, seed=seed).repeat()
    return records.batch(batch_size, drop_remainder=True)


def _parse_pairs(
    assembly: Assembly, task: Task, hard_negatives: bool
) -> Callable[[Tensor], dict[str, Any]]:
    sides = [
        ("query", task.query_entity, QUERY_PREFIX),
        ("candidate", task.candidate_type, CANDIDATE_PREFIX),
    ]
    if hard_negatives:
        sides.append(("negative", task.candidate_type, NEGATIVE_PREFIX))
    fixed = [one.column for one in assembly.model.compatibility if one.task == task]

    def parse(serialized: Tensor) -> dict[str, Any]:
        pairs: dict[str, Any] = {}
        for side, entity, prefix in sides:
            raw = _parse(serialized, assembly.specs[entity], prefix)
            pairs[side] = assembly.features[entity](raw)
            pairs[f"{side}_id"] = id_fingerprint(raw[ID])
            if side == "candidate" and fixed:
                pairs["fixed"] = fixed_vectors(raw, fixed)
            if side == "negative":  # a pair may have none
                no_id = tf.constant(NO_ID, tf.int64)
                pairs["negative_id"] = tf.where(raw[ID] == "", no_id, pairs["negative_id"])
        return pairs

    return parse


def _parse_entities(assembly: Assembly, entity: str) -> Callable[[Tensor], dict[str, Any]]:
    fixed = assembly.model.fixed_columns(entity)

    def parse(serialized: Tensor) -> dict[str, Any]:
        raw = _parse(serialized, assembly.specs[entity])
        rows = {"features": assembly.features[entity](raw), "id": id_fingerprint(raw[ID])}
        if fixed:
            rows["fixed"] = fixed_vectors(raw, fixed)
        return rows

    return parse


def _parse(serialized: Tensor, spec: EntitySpec, prefix: str = "") -> dict[str, Tensor]:
    return parse_records(serialized, spec, prefix, spec.ngram_vocabulary is not None)


def training_batches(
    run_dir: Path,
    assembly: Assembly,
    config: TrainingConfig,
    pairs: Mapping[str, int],
    start: int,
    num_replicas: int = 1,
    shard: tuple[int, int] | None = None,
) -> tf.data.Dataset:
    """Endless batches for `RetrievalModel`, from step `start` of the run's fixed order.

    An element is the batch of one replica; a step takes `num_replicas` elements in a row. The
    element of replica `r` of `R` holds the rows `[r * n / R, (r + 1) * n / R)` of each sub-batch
    of `n` rows that a single replica would get, and of the random negatives.

    Args:
        run_dir: holds `examples/`, `catalogue/`, `vocabulary/`, and `mined/` where the config
            asks for hard negatives: pairs then also have `negative` and `negative_id`, int64
            `[sub_batch_size]`, -1 where a pair has none.
        assembly: the model and its feature functions.
        config: batch sizes, seed, shuffle.
        pairs: training pairs of each task.
        start: int, steps to leave out: serialized records are skipped, not parsed.
        num_replicas: int, over all workers.
        shard: (number of workers, this worker): only the elements of its replicas, of which every
            worker has equally many, in a row.

    Raises:
        InputError: shards or mined negatives are absent, stored n-gram ids are of another
            vocabulary, or sizes cannot be divided among the replicas.
    """
    require_stored_vocabulary(run_dir, assembly.specs)
    serialized: dict[str, Any] = {"pairs": {}, "random": {}}
    folder = pairs_folder(run_dir, config)
    sizes = sub_batch_sizes(assembly, config, pairs, num_replicas)
    for i, (name, size) in enumerate(sizes.items()):
        files = example_files(folder / Path(name).parent, Path(name).name)
        serialized["pairs"][name] = _records(files, size // num_replicas, config, config.seed + i)
    if assembly.model.needs_random_negatives:
        size = config.random_negatives
        _require_divisible("training.random_negatives", size, num_replicas)
        for i, entity in enumerate(assembly.model.random_sketches):
            files = example_files(run_dir / "catalogue", entity)
            serialized["random"][entity] = _records(
                files, size // num_replicas, config, config.seed + 1000 + i
            )
    if not serialized["random"]:
        del serialized["random"]
    batches = tf.data.Dataset.zip(serialized).skip(start * num_replicas)
    if shard is not None:
        batches = _of_worker(batches, num_replicas, *shard)
    parse = _parse_batch(assembly, config, list(sizes))
    return batches.map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(2)


def _parse_batch(
    assembly: Assembly, config: TrainingConfig, tasks: list[str]
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    parse_pairs = {n: _parse_pairs(assembly, Task.parse(n), config.hard_negatives) for n in tasks}
    parse_entities = {e: _parse_entities(assembly, e) for e in assembly.model.random_sketches}

    def parse(batch: dict[str, Any]) -> dict[str, Any]:
        parsed = {"pairs": {n: parse_pairs[n](v) for n, v in batch["pairs"].items()}}
        if "random" in batch:
            parsed["random"] = {e: parse_entities[e](v) for e, v in batch["random"].items()}
        return parsed

    return parse


def _of_worker(
    batches: tf.data.Dataset, num_replicas: int, num_workers: int, worker: int
) -> tf.data.Dataset:
    """The elements of one worker's replicas; those of the others are not parsed."""
    if num_replicas % num_workers or not 0 <= worker < num_workers:
        raise ValueError(
            "`shard` must be (number of workers, worker), the first a divisor of `num_replicas`. "
            f"Received: {(num_workers, worker)} of {num_replicas} replicas."
        )
    own = num_replicas // num_workers
    numbered = batches.enumerate().filter(lambda i, _: i % num_replicas // own == worker)
    return numbered.map(lambda _, batch: batch)
