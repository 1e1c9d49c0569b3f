"""From a run's configuration and data to its towers, its feature functions, its model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from tfrs_sage.artefacts import read_manifest
from tfrs_sage.errors import InputError
from tfrs_sage.layers import HashEmbeddingBag
from tfrs_sage.models import RetrievalModel
from tfrs_sage.schema.features import EntitySpec, Task
from tfrs_sage.text.vocabulary import NgramVocabulary
from tfrs_sage.towers import (
    EntityTower,
    EntityTowerConfig,
    QueryTokenizer,
    QueryTower,
    build_backbone,
)
from tfrs_sage.towers.features import EntityFeatures, QueryFeatures
from tfrs_sage.training.config import RunConfig, TaskConfig


@dataclass
class Assembly:
    """A model and what turns records into its batches.

    Attributes:
        model: built, not compiled.
        features: from raw features to tower inputs, by entity.
        specs: what the records of each entity hold.
        tasks: settings of the tasks that are trained, by name.
        pretrained: weights of a preset and of the projection on top of them, which learn at a
            rate of their own: a fast projection would undo what the encoder knows.
    """

    model: RetrievalModel
    features: Mapping[str, Any]
    specs: Mapping[str, EntitySpec]
    tasks: Mapping[str, TaskConfig]
    pretrained: list[keras.Variable]


def chosen_tasks(
    config: RunConfig, found: Mapping[str, Mapping[str, int]]
) -> dict[str, TaskConfig]:
    """The tasks to train: those of the config, or all with training pairs.

    Raises:
        InputError: the config names a task that has no training pairs.
    """
    available = sorted(name for name, counts in found.items() if counts.get("train", 0) > 0)
    if config.training.tasks is None:
        return {name: TaskConfig() for name in available}
    for name in config.training.tasks:
        if name not in available:
            raise InputError(
                f"training.tasks may name tasks that have training pairs. Received: {name!r}; "
                f"the data has {', '.join(available) or 'none'}."
            )
    return dict(config.training.tasks)


def reads_titles(tower: EntityTowerConfig, config: RunConfig, spec: EntitySpec) -> bool:
    """Whether an entity's tower also embeds the title with the query tower's encoder."""
    wanted = tower.text_encoder == "query" or (
        tower.text_encoder == "auto" and config.query_tower.preset is not None
    )
    return wanted and tower.use_text and "title" in spec.texts


def assemble(run_dir: Path, config: RunConfig) -> Assembly:
    """Builds the model of a run whose tables have been preprocessed.

    Args:
        run_dir: holds `examples/` and `vocabulary/`.
        config: the run's configuration.
    """
    manifest = read_manifest(run_dir / "examples")
    tasks = chosen_tasks(config, manifest["tasks"])
    if not tasks:
        raise InputError(
            "A model needs a task with training pairs. Found none: the engagements hold no search, "
            "pin or product queries in the train split."
        )
    parsed = [Task.parse(name) for name in tasks]
    entities = sorted({e for task in parsed for e in (task.query_entity, task.candidate_type)})
    specs = {e: EntitySpec.from_json(manifest["entities"][e]) for e in entities}
    keras.utils.set_random_seed(config.training.seed)
    keras.config.set_dtype_policy(config.training.precision)
    vocabulary_dir = run_dir / "vocabulary"
    towers: dict[str, keras.layers.Layer] = {}
    features: dict[str, Any] = {}
    settings = {"product": config.product_tower, "pin": config.pin_tower}
    title_encoders = {
        e for e in entities if e != "query" and reads_titles(settings[e], config, specs[e])
    }
    if "query" in entities or title_encoders:
        wordpieces = (vocabulary_dir / "wordpiece.txt").read_text(encoding="utf-8").splitlines()
        tokenizer = QueryTokenizer(config.query_tower, wordpieces)
        backbone = build_backbone(config.query_tower, tokenizer.vocabulary_size)
        query_tower = QueryTower(backbone, config.query_tower, config.embedding_dim, name="query")
        towers["query"], features["query"] = query_tower, QueryFeatures(tokenizer)
    vocabulary = NgramVocabulary(vocabulary_dir)
    bag = None
    for entity in entities:
        if entity == "query":
            continue
        tower_config, spec = settings[entity], specs[entity]
        if bag is None and tower_config.use_text and spec.texts:
            # One table for all entities, as in OmniSearchSage's unified tower.
            bag = HashEmbeddingBag(
                vocabulary.size,
                tower_config.text_dim,
                tower_config.hash_table_size,
                tower_config.num_hashes,
                name="hash_embedding",
            )
        towers[entity] = EntityTower(
            spec,
            tower_config,
            config.embedding_dim,
            bag,
            towers["query"] if entity in title_encoders else None,
            name=entity,
        )
        features[entity] = EntityFeatures(
            spec, vocabulary, tokenizer if entity in title_encoders else None
        )
    model = RetrievalModel(
        towers,
        parsed,
        config.loss,
        {name: task.weight for name, task in tasks.items()},
        config.training.chunks,
    )
    model.build()
    pretrained = []
    if config.query_tower.preset is not None and "query" in towers:
        pretrained = list(towers["query"].trainable_variables)
    return Assembly(model, features, specs, tasks, pretrained)
