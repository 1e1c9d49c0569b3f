"""Trains the model of a run, from where it was stopped."""

import logging
import math
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from tfrs_sage.artefacts import fingerprint, read_manifest, write_json
from tfrs_sage.training.assemble import Assembly, assemble
from tfrs_sage.training.checkpoints import latest_checkpoint, restore_checkpoint, restore_weights
from tfrs_sage.training.config import RunConfig, learned_from
from tfrs_sage.training.devices import choose_strategy, distribute, is_chief, train_function
from tfrs_sage.training.input_pipeline import sub_batch_sizes, training_batches
from tfrs_sage.training.loop import Loop
from tfrs_sage.training.optimizer import LazyAdamW, LazyLamb, WarmupCosine
from tfrs_sage.training.shards import check_shards

logger = logging.getLogger(__name__)


def training_fingerprint(run_dir: Path, config: RunConfig) -> str:
    """What a checkpoint belongs to: the configuration of the model and the examples' files."""
    examples = read_manifest(run_dir / "examples")
    return fingerprint([learned_from(config), examples["files"]])


def compile_model(assembly: Assembly, config: RunConfig, num_steps: int) -> None:
    """Compiles with the optimizer, warm-up and cosine decay, and the rate of pretrained weights."""
    training = config.training
    schedule = WarmupCosine(
        training.learning_rate, num_steps, math.ceil(num_steps * training.warmup_share)
    )
    kinds: dict[str, Any] = {"adamw": LazyAdamW, "lamb": LazyLamb}
    optimizer = kinds[training.optimizer](
        learning_rate=schedule,
        weight_decay=training.weight_decay,
        global_clipnorm=training.clip_norm,
    )
    factor = training.pretrained_learning_rate / training.learning_rate
    optimizer.set_rate_factor(assembly.pretrained, factor)
    for variables, of_depth in assembly.layer_factors:
        of_all = factor if assembly.pretrained else 1.0
        optimizer.set_rate_factor(variables, of_all * of_depth)
    optimizer.exclude_from_weight_decay(var_list=undecayed(assembly))
    assembly.model.compile(optimizer=optimizer, jit_compile=False)
    # What compile has made of it: under mixed_float16 its loss is scaled.
    assembly.model.optimizer.build(assembly.model.trainable_variables)


def undecayed(assembly: Assembly) -> list[keras.Variable]:
    """Weights that do not decay: norms and biases, tables (sparse updates), a preset's own."""
    pretrained = {id(variable) for variable in assembly.pretrained}
    return [
        variable
        for variable in assembly.model.trainable_variables
        if len(variable.shape) < 2
        or id(variable) in pretrained
        or variable.path.endswith(("/table", "/importance", "/embeddings"))
    ]


def num_epochs(config: RunConfig) -> float:
    """Passes over the pairs: a pretrained encoder needs few, weights from scratch more."""
    if config.training.epochs is not None:
        return config.training.epochs
    return 5.0 if config.query_tower.preset is None else 1.0


def train(run_dir: Path, config: RunConfig) -> dict[str, Any]:
    """Trains to the configured number of steps; a stopped run goes on where its last checkpoint is.

    Args:
        run_dir: holds `examples/`, `catalogue/` and `vocabulary/`; gets `checkpoints/`,
            `metrics/train.*` and `tensorboard/`.
        config: the run's configuration.

    Returns:
        Steps, seconds, pairs a step of each task, the last line of the curves.

    Raises:
        InputError: the examples do not fit the configuration, or a file of them is damaged.
        TrainingDiverged: a loss is no longer finite.
        TrainingStopped: SIGTERM or SIGINT came; the last step is in a checkpoint.
    """
    began = time.monotonic()
    run_dir = Path(run_dir)
    strategy = choose_strategy(config.training)
    with strategy.scope():
        assembly = assemble(run_dir, config)
    check_shards(run_dir, assembly, config.training)
    pairs = {n: c.get("train", 0) for n, c in read_manifest(run_dir / "examples")["tasks"].items()}
    sizes = sub_batch_sizes(assembly, config.training, pairs, strategy.num_replicas_in_sync)
    per_step = sum(sizes.values())
    num_pairs = sum(pairs[name] for name in sizes)
    num_steps = config.training.steps or math.ceil(num_epochs(config) * num_pairs / per_step)
    belongs = {"fingerprint": training_fingerprint(run_dir, config), "num_steps": num_steps}
    with strategy.scope():
        compile_model(assembly, config, num_steps)
        start = restore(run_dir, assembly, config, belongs)
    logger.info(
        "training steps %d to %d of %s pairs on %d replicas",
        start,
        num_steps,
        sizes,
        strategy.num_replicas_in_sync,
    )
    batches = distribute(
        strategy,
        lambda replicas, shard: training_batches(
            run_dir, assembly, config.training, pairs, start, replicas, shard
        ),
    )
    loop = Loop(
        run_dir, assembly.model, config.training, per_step, belongs, writes=is_chief(strategy)
    )
    step_function = train_function(strategy, assembly.model, batches)
    last = loop.run(step_function, iter(batches), start, num_steps)
    summary = {
        "steps": num_steps,
        "pairs_per_step": sizes,
        "seconds": round(time.monotonic() - began, 1),
        "last": last,
        **belongs,
    }
    if loop.writes:
        write_json(run_dir / "metrics" / "train.json", summary)
    return summary


def restore(
    run_dir: Path, assembly: Assembly, config: RunConfig, belongs: Mapping[str, Any]
) -> int:
    """Puts the newest checkpoint of this training into the model, or the initial weights.

    Returns:
        The step to go on from.
    """
    folder = run_dir / "checkpoints"
    set_aside_others(folder, belongs)
    newest = latest_checkpoint(folder)
    if newest is not None:
        return restore_checkpoint(newest, assembly.model, **belongs)
    if config.training.initial_weights is not None:
        restore_weights(config.training.initial_weights, assembly.model)
    return 0


def set_aside_others(folder: Path, belongs: Mapping[str, Any]) -> None:
    """Renames checkpoints of another configuration or of other examples: kept, not gone on with."""
    newest = latest_checkpoint(folder)
    if newest is None:
        return
    found = read_manifest(newest)
    if all(found.get(key) == value for key, value in belongs.items()):
        return
    aside = folder.with_name(f"{folder.name}-{found['fingerprint']}")
    logger.warning(
        "%s belongs to another configuration or other examples; it is kept as %s and the "
        "training begins anew",
        newest,
        aside,
    )
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    curves = folder.parent / "metrics" / "train.jsonl"
    if curves.is_file():
        curves.rename(aside / curves.name)
