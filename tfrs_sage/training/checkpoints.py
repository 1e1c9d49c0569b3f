"""Checkpoints: every variable of model and optimizer, whole or not at all."""

import logging
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfrs_sage.artefacts import MANIFEST, read_manifest, require_same, whole_folder, write_json
from tfrs_sage.errors import InputError

logger = logging.getLogger(__name__)
KEEP = 2
_NUMBER = re.compile(r"_\d+(?=[/_]|$)")


def all_variables(model: keras.Model) -> list[keras.Variable]:
    """Weights, sketches and random state of the model, then the optimizer's state.

    Not the metrics: a checkpoint is saved where they begin anew.
    """
    optimizer = getattr(model, "optimizer", None)
    metrics = {id(variable) for variable in model.metrics_variables}
    weights = [variable for variable in model.variables if id(variable) not in metrics]
    return [*weights, *(optimizer.variables if optimizer is not None else [])]


def _names(variables: list[keras.Variable]) -> list[str]:
    """Place, name and shape of each. Keras numbers names by process, so numbers are left out."""
    return [
        f"{i:05d} {_NUMBER.sub('', variable.path)} {list(variable.shape)}"
        for i, variable in enumerate(variables)
    ]


def _in_order_of_name(names: list[str]) -> list[tuple[str, int]]:
    """Names without their place, each with how many of the same name came before it.

    Blocks of an encoder are named alike once their numbers are gone: only order tells them apart.
    """
    seen: Counter[str] = Counter()
    numbered = []
    for name in names:
        name = name.partition(" ")[2]
        numbered.append((name, seen[name]))
        seen[name] += 1
    return numbered


def save_checkpoint(folder: Path, model: keras.Model, step: int, **fields: Any) -> Path:
    """Writes `<folder>/step-<step>/`; the newest two are kept.

    Not `tf.train.Checkpoint`: it left out the weights of layers that a Keras 3 model holds in a
    mapping (the sketches), without a word.
    """
    variables = all_variables(model)
    target = folder / f"step-{step:09d}"
    with whole_folder(target) as beside:
        arrays: dict[str, Any] = {
            f"{i:05d}": keras.ops.convert_to_numpy(v) for i, v in enumerate(variables)
        }
        np.savez(beside / "variables.npz", **arrays)
        write_json(
            beside / MANIFEST,
            {
                "step": step,
                **fields,
                "names": _names(variables),
            },
        )
    for old in checkpoints(folder)[:-KEEP]:
        shutil.rmtree(old)
    return target


def checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints, oldest first."""
    return sorted(path.parent for path in folder.glob(f"step-*/{MANIFEST}"))


def restore_checkpoint(path: Path, model: keras.Model, **expected: Any) -> int:
    """Puts a checkpoint's values into the model and, where it has one, the built optimizer.

    Args:
        path: the folder of one checkpoint.
        model: of the same structure; without an optimizer only the weights are read.
        expected: manifest fields that must be equal, e.g. the config's fingerprint.

    Returns:
        The step that it was saved at.

    Raises:
        InputError: the model is another one; says which variable differs.
    """
    manifest = read_manifest(path)
    require_same(path, manifest, expected)
    variables = all_variables(model)
    names, saved = _names(variables), manifest["names"][: len(variables)]
    if names != saved:
        pairs = zip([*names, None], [*saved, None], strict=False)
        ours, theirs = next((a, b) for a, b in pairs if a != b)
        raise InputError(
            f"{path} must hold the variables of this model. Found {theirs!r} where it has "
            f"{ours!r}. Train again, or use the run's own config."
        )
    with np.load(path / "variables.npz") as arrays:
        for i, variable in enumerate(variables):
            variable.assign(arrays[f"{i:05d}"])
    logger.info("restored %s", path)
    return int(manifest["step"])


def restore_weights(path: Path, model: keras.Model) -> None:
    """Puts only the weights of a checkpoint into the model: a new training that starts from them.

    Sketches, metrics and random state stay as they are; the optimizer begins anew.

    Raises:
        InputError: no checkpoint there, or one of other towers.
    """
    if not (path / MANIFEST).is_file():
        raise InputError(
            f"training.initial_weights must be the folder of a checkpoint. Found none at {path}."
        )
    manifest = read_manifest(path)
    saved = {name: i for i, name in enumerate(_in_order_of_name(manifest["names"]))}
    wanted = _in_order_of_name(_names(model.trainable_variables))
    if absent := [name for name in wanted if name not in saved]:
        raise InputError(
            f"training.initial_weights must hold the weights of these towers. {path} has no "
            f"{absent[0][0]}. Use a checkpoint of a run with the same towers."
        )
    with np.load(path / "variables.npz") as arrays:
        for name, variable in zip(wanted, model.trainable_variables, strict=True):
            variable.assign(arrays[f"{saved[name]:05d}"])
    logger.info("starting from the weights of %s", path)


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint, or None."""
    found = checkpoints(folder)
    return found[-1] if found else None
