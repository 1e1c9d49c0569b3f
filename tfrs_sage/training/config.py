"""The configuration of a run: every section, where its values come from, how it is kept."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from tfrs_sage.errors import InputError
from tfrs_sage.losses.config import LossConfig
from tfrs_sage.schema.config import PreprocessConfig
from tfrs_sage.settings import Settings
from tfrs_sage.towers.config import EntityTowerConfig, QueryTowerConfig, check_unified
from tfrs_sage.training.presets import PRESETS
from tfrs_sage.users.config import ClusterConfig


class TaskConfig(Settings):
    """How much one task counts."""

    batch_size: int | None = Field(
        None, ge=1, description="pairs of this task a step; default: its share of the batch"
    )
    weight: float = Field(1.0, gt=0, description="weight of its loss")


class TrainingConfig(Settings):
    """The optimisation."""

    tasks: dict[str, TaskConfig] | None = Field(
        None, description="the tasks to train, by name; default: every one found in the data"
    )
    compatibility: dict[Literal["product", "pin"], tuple[str, ...]] = Field(
        {},
        description="by entity the *_embedding columns, such as those of last year's model, that "
        "text queries are trained against too, so that they search an index of them",
    )
    compatibility_weight: float = Field(
        1.0, gt=0, description="weight of such a task beside that of the task it is made from"
    )
    batch_size: int = Field(256, ge=2, description="pairs a step, over all tasks")
    random_negatives: int = Field(128, ge=1, description="random candidates a step and entity")
    hard_negatives: bool = Field(
        False, description="train on the pairs that `mine-negatives` gave a hard negative each"
    )
    initial_weights: Path | None = Field(
        None, description="checkpoint folder of a run of the same towers to start from"
    )
    chunks: int = Field(
        1,
        ge=1,
        description="parts in which the towers see a batch, for batches that do not fit in memory; "
        "the gradient stays that of the whole batch",
    )
    strategy: Literal["auto", "one", "mirrored", "multi_worker"] = Field(
        "auto",
        description="devices: one; all of this machine; all of TF_CONFIG's workers; "
        "'auto': mirrored where there are two GPUs or more",
    )
    optimizer: Literal["adamw", "lamb"] = "adamw"
    epochs: float | None = Field(
        None,
        gt=0,
        description="passes over as many pairs as the data has; default: 1 where the query tower "
        "has a preset, 5 where it learns from scratch",
    )
    steps: int | None = Field(None, ge=1, description="steps in all; overrides epochs")
    learning_rate: float = Field(1e-3, gt=0, description="peak rate of new weights")
    pretrained_learning_rate: float = Field(
        5e-5, ge=0, description="peak rate of a preset's weights and of the layer on top of them"
    )
    warmup_share: float = Field(0.05, ge=0, lt=1, description="of the steps, before cosine decay")
    weight_decay: float = Field(0.01, ge=0, description="of matrices; not of norms and tables")
    clip_norm: float = Field(1.0, gt=0, description="of all gradients together")
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    checkpoint_steps: int = Field(200, ge=1, description="steps between checkpoints")
    log_steps: int = Field(20, ge=1, description="steps between lines of metrics/train.jsonl")
    shuffle_buffer: int = Field(8192, ge=1, description="records of a task in the shuffle")
    seed: int = 0

    @property
    def fixed_columns(self) -> dict[str, tuple[str, ...]]:
        """`compatibility` by the entity as any text."""
        return {str(entity): columns for entity, columns in self.compatibility.items()}


class IndexConfig(Settings):
    """The nearest-neighbour index over the products."""

    kind: Literal["auto", "brute_force", "scann", "partitioned"] = "scann"
    recall_target: float = Field(0.95, gt=0, le=1, description="against brute force, at 10")
    prefix: int | None = Field(
        None, ge=1, description="components of the embedding that the index takes; default: all"
    )
    attributes: tuple[str, ...] = Field(
        (), description="text columns of the products that a search can be filtered by"
    )


class RunConfig(Settings):
    """Everything that decides what a run computes."""

    embedding_dim: int = Field(256, ge=4, description="width of every embedding")
    preprocess: PreprocessConfig = PreprocessConfig()
    query_tower: QueryTowerConfig = QueryTowerConfig()
    product_tower: EntityTowerConfig = EntityTowerConfig()
    pin_tower: EntityTowerConfig = EntityTowerConfig()
    loss: LossConfig = LossConfig()
    training: TrainingConfig = TrainingConfig()
    index: IndexConfig = IndexConfig()
    users: ClusterConfig = ClusterConfig()

    @model_validator(mode="after")
    def _sections_fit(self) -> "RunConfig":
        weights = self.loss.prefix_weights
        if weights is not None and max(weights, default=0) != self.embedding_dim:
            raise ValueError(
                "the widest of loss.prefix_weights must be embedding_dim, "
                f"{self.embedding_dim}; found {sorted(weights)}"
            )
        check_unified(self.product_tower, self.pin_tower)
        return self


def learned_from(config: RunConfig) -> dict[str, Any]:
    """The settings that decide what is learned, for fingerprints.

    Not those of other steps, nor how often a training writes, on which devices and in how many
    parts it computes: changing these goes on with the same training.
    """
    left_out = {"checkpoint_steps", "log_steps", "strategy", "chunks"}
    others: Any = {"preprocess": True, "index": True, "users": True, "training": left_out}
    return config.model_dump(mode="json", exclude=others)


def load_config(
    preset: str = "base", file: Path | None = None, overrides: Sequence[str] = ()
) -> RunConfig:
    """A preset, changed by a YAML file, changed by `key=value` settings.

    Args:
        preset: `tiny`, `base` or `paper`.
        file: YAML with any part of the sections.
        overrides: such as `training.epochs=3`; values are read as YAML.

    Raises:
        InputError: unknown preset, key or value; names the nearest known key.
    """
    if preset not in PRESETS:
        raise InputError(f"A preset must be one of {', '.join(PRESETS)}. Received: {preset!r}.")
    values: dict[str, Any] = {}
    _merge(values, PRESETS[preset])
    if file is not None:
        if not Path(file).is_file():
            raise InputError(f"--config must name a YAML file. Found none at {file}.")
        _merge(values, yaml.safe_load(Path(file).read_text(encoding="utf-8")) or {})
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key:
            raise InputError(f"A setting is written key=value. Received: {override!r}.")
        nested: Any = yaml.safe_load(value)
        for part in reversed(key.strip().split(".")):
            nested = {part: nested}
        _merge(values, nested)
    return parse_config(values)


def parse_config(values: dict[str, Any]) -> RunConfig:
    """Checks `values`; the error tells every wrong one by its place."""
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        lines = [
            f"{'.'.join(str(part) for part in item['loc']) or 'config'}: {item['msg']} "
            f"(received: {item['input']!r})"
            for item in error.errors()
        ]
        raise InputError("The configuration is not valid:\n  " + "\n  ".join(lines)) from error


def save_config(config: RunConfig, path: Path) -> None:
    """Writes the resolved configuration as YAML."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    path.write_text(text, encoding="utf-8")


def read_config(path: Path) -> RunConfig:
    """The configuration that a run was made with."""
    if not Path(path).is_file():
        raise InputError(f"A run folder holds a config.yaml. Found none at {path}.")
    return parse_config(yaml.safe_load(Path(path).read_text(encoding="utf-8")))


def _merge(values: dict[str, Any], changes: Any) -> None:
    if not isinstance(changes, dict):
        raise InputError(f"A configuration is a mapping of sections. Received: {changes!r}.")
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(values.get(key), dict):
            _merge(values[key], value)
        else:
            # A copy: two sections may come as one object, from a preset or by a YAML alias.
            values[key] = copy.deepcopy(value)
