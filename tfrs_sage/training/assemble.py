"""From a run's configuration and data to its towers, its feature functions, its model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras

from tfrs_sage.artefacts import read_manifest
from tfrs_sage.errors import InputError
from tfrs_sage.layers import HashEmbeddingBag
from tfrs_sage.models import RetrievalModel
from tfrs_sage.schema.features import EntitySpec, Task, compatibility_tasks
from tfrs_sage.text.vocabulary import NgramVocabulary, inverse_frequencies
from tfrs_sage.towers import QueryTokenizer, QueryTower, QueryTowerConfig, build_backbone
from tfrs_sage.towers.features import EntityFeatures, QueryFeatures
from tfrs_sage.training.config import RunConfig, TaskConfig
from tfrs_sage.training.entity_towers import entity_towers, reads_titles, tower_spec


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
        layer_factors: weights of the query tower by depth, and the factor of their rate; empty
            where all depths learn alike.
    """

    model: RetrievalModel
    features: Mapping[str, Any]
    specs: Mapping[str, EntitySpec]
    tasks: Mapping[str, TaskConfig]
    pretrained: list[keras.Variable]
    layer_factors: list[tuple[list[keras.Variable], float]] = field(default_factory=list)


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


def check_compatibility(
    compatibility: Mapping[str, Sequence[str]],
    tasks: Sequence[Task],
    specs: Mapping[str, EntitySpec],
    embedding_dim: int,
) -> None:
    """Refuses columns of `training.compatibility` that no query can be trained against.

    Args:
        compatibility: vector columns by entity.
        tasks: those that are trained.
        specs: what the records of each entity hold.
        embedding_dim: int, width of a query's embedding.

    Raises:
        InputError: no trained task has text queries and such candidates, no row has the column,
            or it is wider than a query's embedding.
    """
    for entity, columns in compatibility.items():
        if not any((t.query_entity, t.candidate_type) == ("query", entity) for t in tasks):
            raise InputError(
                f"training.compatibility.{entity} needs a trained task from search to {entity}. "
                f"Found: {', '.join(map(str, tasks))}. Leave {entity} out of it."
            )
        for column in columns:
            width = specs[entity].vectors.get(column)
            if width is None:
                raise InputError(
                    f"training.compatibility.{entity} may name vector columns of the {entity}s. "
                    f"Received: {column!r}; the data has "
                    f"{', '.join(specs[entity].vectors) or 'none'}."
                )
            if width > embedding_dim:
                raise InputError(
                    f"A column of training.compatibility may have embedding_dim, {embedding_dim}, "
                    f"components or fewer: a query has no more. Found: {entity} {column} has "
                    f"{width}. Set embedding_dim to {width} or more."
                )


def lexical_bag(
    vocabulary_dir: Path, config: QueryTowerConfig, vocabulary_size: int, num_texts: int
) -> HashEmbeddingBag:
    """The bag of a text's n-grams, at the start a projection of their TF-IDF vector."""
    bag = HashEmbeddingBag(
        vocabulary_size, config.lexical_dim, config.lexical_table_size, name="lexical_bag"
    )
    bag.build((None,), (None, None))
    bag.start_as_projection(inverse_frequencies(vocabulary_dir, num_texts))
    return bag


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
    compatibility = config.training.fixed_columns
    found = {e: EntitySpec.from_json(manifest["entities"][e]) for e in entities}
    keras.utils.set_random_seed(config.training.seed)
    keras.config.set_dtype_policy(config.training.precision)
    vocabulary_dir = run_dir / "vocabulary"
    towers: dict[str, keras.layers.Layer] = {}
    features: dict[str, Any] = {}
    settings = {"product": config.product_tower, "pin": config.pin_tower}
    specs = {
        entity: spec.only_texts(settings[entity].texts) if entity in settings else spec
        for entity, spec in found.items()
    }
    check_compatibility(compatibility, parsed, specs, config.embedding_dim)
    title_encoders = {
        e for e in entities if e != "query" and reads_titles(settings[e], config, specs[e])
    }
    vocabulary = NgramVocabulary(vocabulary_dir)
    if "query" in entities or title_encoders:
        wordpieces = (vocabulary_dir / "wordpiece.txt").read_text(encoding="utf-8").splitlines()
        tokenizer = QueryTokenizer(config.query_tower, wordpieces)
        backbone = build_backbone(config.query_tower, tokenizer.vocabulary_size)
        bag = None
        if config.query_tower.lexical_dim:
            num_texts = sum(spec["count"] for spec in manifest["entities"].values())
            bag = lexical_bag(vocabulary_dir, config.query_tower, vocabulary.size, num_texts)
        query_tower = QueryTower(
            backbone, config.query_tower, config.embedding_dim, bag, name="query"
        )
        towers["query"] = query_tower
        features["query"] = QueryFeatures(tokenizer, None if bag is None else vocabulary)
    tower_specs = {
        entity: tower_spec(specs[entity], settings[entity], compatibility.get(entity, ()))
        for entity in entities
        if entity != "query"
    }
    encoders = {entity: towers["query"] for entity in title_encoders}
    towers |= entity_towers(config, tower_specs, vocabulary.size, encoders)
    for entity, spec in tower_specs.items():
        features[entity] = EntityFeatures(
            spec, vocabulary, features["query"] if entity in title_encoders else None
        )
    weights = {name: task.weight for name, task in tasks.items()}
    for one in compatibility_tasks(parsed, compatibility):
        weights[str(one)] = weights[str(one.task)] * config.training.compatibility_weight
    model = RetrievalModel(
        towers, parsed, config.loss, weights, config.training.chunks, compatibility
    )
    model.build()
    assembly = Assembly(model, features, specs, tasks, [])
    if "query" in towers:
        if config.query_tower.preset is not None:
            parts = [towers["query"].backbone, towers["query"].head]
            assembly.pretrained = [v for p in parts if p is not None for v in p.trainable_variables]
        if config.query_tower.layer_rate_decay != 1.0:
            assembly.layer_factors = towers["query"].rate_factors()
    return assembly
