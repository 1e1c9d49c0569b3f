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
from tfrs_sage.training.checkpoints import latest_checkpoint, restore_checkpoint
from tfrs_sage.training.config import RunConfig
from tfrs_sage.training.input_pipeline import sub_batch_sizes, training_batches
from tfrs_sage.training.optimizer import LazyAdamW, WarmupCosine
from tfrs_sage.training.progress import Checkpoints, ProgressBar

logger = logging.getLogger(__name__)


def training_fingerprint(run_dir: Path, config: RunConfig) -> str:
    """What a checkpoint belongs to: the configuration of the model and the examples' files."""
    examples = read_manifest(run_dir / "examples")
    sections = config.model_dump(mode="json", exclude={"index", "preprocess"})
    return fingerprint([sections, examples["files"]])


def compile_model(assembly: Assembly, config: RunConfig, num_steps: int) -> None:
    """Compiles with AdamW, warm-up and cosine decay, and the rate of pretrained weights."""
    training = config.training
    schedule = WarmupCosine(
        training.learning_rate, num_steps, math.ceil(num_steps * training.warmup_share)
    )
    optimizer = LazyAdamW(
        learning_rate=schedule,
        weight_decay=training.weight_decay,
        global_clipnorm=training.clip_norm,
    )
    factor = training.pretrained_learning_rate / training.learning_rate
    optimizer.set_rate_factor(assembly.pretrained, factor)
    optimizer.exclude_from_weight_decay(var_list=undecayed(assembly))
    assembly.model.compile(optimizer=optimizer, jit_compile=False)
    optimizer.build(assembly.model.trainable_variables)


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
            `metrics/train.jsonl` and `tensorboard/`.
        config: the run's configuration.

    Returns:
        Steps, seconds, pairs a second and the last losses.

    Raises:
        TrainingDiverged: a loss is no longer finite.
    """
    began = time.monotonic()
    run_dir = Path(run_dir)
    assembly = assemble(run_dir, config)
    pairs = {n: c.get("train", 0) for n, c in read_manifest(run_dir / "examples")["tasks"].items()}
    sizes = sub_batch_sizes(assembly, config.training, pairs)
    per_step = sum(sizes.values())
    num_pairs = sum(pairs[name] for name in sizes)
    num_steps = config.training.steps or math.ceil(num_epochs(config) * num_pairs / per_step)
    compile_model(assembly, config, num_steps)
    belongs = {"fingerprint": training_fingerprint(run_dir, config), "num_steps": num_steps}
    set_aside_others(run_dir / "checkpoints", belongs)
    start, newest = 0, latest_checkpoint(run_dir / "checkpoints")
    if newest is not None:
        start = restore_checkpoint(newest, assembly.model, **belongs)
    logger.info("training steps %d to %d of %s pairs", start, num_steps, sizes)
    callbacks = [
        ProgressBar(start, num_steps),
        Checkpoints(run_dir, start, per_step, **belongs),
        keras.callbacks.TensorBoard(run_dir / "tensorboard", write_graph=False),
    ]
    history: dict[str, list[float]] = {}
    for steps, epochs in fit_segments(start, num_steps, config.training.checkpoint_steps):
        batches = training_batches(run_dir, assembly, config.training, pairs, start)
        result = assembly.model.fit(
            batches,
            steps_per_epoch=steps,
            epochs=epochs,
            callbacks=callbacks,
            shuffle=False,
            verbose=0,
        )
        history = result.history
        start += steps * epochs
    seconds = time.monotonic() - began
    summary = {
        "steps": num_steps,
        "pairs_per_step": sizes,
        "seconds": round(seconds, 1),
        "last": {key: values[-1] for key, values in history.items()},
        **belongs,
    }
    write_json(run_dir / "metrics" / "train.json", summary)
    return summary


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


def fit_segments(start: int, num_steps: int, checkpoint_steps: int) -> list[tuple[int, int]]:
    """Calls of `fit` as (steps an epoch, epochs), so that epochs end at round checkpoint steps.

    >>> fit_segments(start=30, num_steps=110, checkpoint_steps=25)
    [(20, 1), (25, 2), (10, 1)]
    """
    segments = []
    if start % checkpoint_steps and start < num_steps:
        first = min(checkpoint_steps - start % checkpoint_steps, num_steps - start)
        segments.append((first, 1))
        start += first
    whole, rest = divmod(num_steps - start, checkpoint_steps)
    if whole:
        segments.append((checkpoint_steps, whole))
    if rest:
        segments.append((rest, 1))
    return segments
