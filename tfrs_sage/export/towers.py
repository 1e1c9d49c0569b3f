"""The towers as SavedModels that take raw features: texts as strings, images as vectors."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrs_sage.artefacts import read_manifest
from tfrs_sage.errors import InputError
from tfrs_sage.export.savedmodel import latest_version, save_version, versions
from tfrs_sage.schema.features import ENTITY_TEXTS, IMAGE_DIM, IMAGES, MAX_IMAGES
from tfrs_sage.towers.features import parse_records
from tfrs_sage.training.assemble import Assembly, assemble
from tfrs_sage.training.checkpoints import latest_checkpoint, restore_checkpoint
from tfrs_sage.training.config import RunConfig
from tfrs_sage.types import Tensor


class ExportedQueryTower(tf.Module):
    """string `[n]` -> float32 `[n, d]`, its tokenizer inside.

    Callable, so that it can be part of a retrieval export.
    """

    def __init__(self, assembly: Assembly) -> None:
        super().__init__(name="query_tower")
        self.tower = assembly.model.towers["query"]
        self.features = assembly.features["query"]
        # What a SavedModel must carry is found through attributes of modules.
        self.tokenizer = self.features.tokenizer.tokenizer
        self.kept = [variable.value for variable in self.tower.variables]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="query")])
    def __call__(self, query: Tensor) -> Tensor:
        return self.tower(self.features({"text": query}), training=False)

    def signatures(self) -> dict[str, Any]:
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="query")])
        def serving_default(query: Tensor) -> Mapping[str, Tensor]:
            return {"embedding": self(query)}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def serving_tf_example(examples: Tensor) -> Mapping[str, Tensor]:
            fields = {"text": tf.io.FixedLenFeature([], tf.string, "")}
            return {"embedding": self(tf.io.parse_example(examples, fields)["text"])}

        return {
            "serving_default": serving_default.get_concrete_function(),
            "serving_tf_example": serving_tf_example.get_concrete_function(),
        }


class ExportedEntityTower(tf.Module):
    """Raw features of products (or pins) -> float32 `[n, d]`.

    The signature takes every feature of the schema, whether the training data had it or not, so
    that a client needs no change when a later model uses more of them; what this model was not
    trained on does not reach the tower.
    """

    def __init__(self, assembly: Assembly, entity: str) -> None:
        super().__init__(name=f"{entity}_tower")
        self.entity = entity
        self.tower = assembly.model.towers[entity]
        self.features = assembly.features[entity]
        self.spec = assembly.specs[entity]
        self.vocabulary = self.features.vocabulary
        if self.features.title_tokenizer is not None:
            self.tokenizer = self.features.title_tokenizer.tokenizer
        self.kept = [variable.value for variable in self.tower.variables]

    def embed(self, raw: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        embedding = self.tower(self.features(raw), training=False)
        return {"embedding": tf.ensure_shape(embedding, [None, self.tower.embedding_dim])}

    def signatures(self) -> dict[str, Any]:
        texts = ENTITY_TEXTS[self.entity]
        specs = {name: tf.TensorSpec([None], tf.string, name=name) for name in texts}
        specs[IMAGES] = tf.TensorSpec([None, MAX_IMAGES, IMAGE_DIM], tf.float32, name=IMAGES)
        specs["num_images"] = tf.TensorSpec([None], tf.int32, name="num_images")
        for name, dim in self.spec.vectors.items():
            specs[name] = tf.TensorSpec([None, dim], tf.float32, name=name)

        @tf.function
        def serving_default(**raw: Tensor) -> Mapping[str, Tensor]:
            slots = tf.reduce_max(tf.concat([raw["num_images"], [0]], axis=0))
            images = {IMAGES: raw[IMAGES][:, :slots]}
            # A vector of zeros is an absent one: raw tensors have no other way to say so.
            present = {
                f"{name}/present": tf.reduce_any(raw[name] != 0.0, axis=1)
                for name in self.spec.vectors
            }
            return self.embed({**raw, **images, **present})

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def serving_tf_example(examples: Tensor) -> Mapping[str, Tensor]:
            return self.embed(parse_records(examples, self.spec))

        return {
            "serving_default": serving_default.get_concrete_function(**specs),
            "serving_tf_example": serving_tf_example.get_concrete_function(),
        }


def export_towers(run_dir: Path, config: RunConfig, root: Path) -> dict[str, Path]:
    """Exports `query_tower`, `product_tower` and `pin_tower`, those that the model has.

    A tower whose newest version is of the same checkpoint and training is not written again.

    Args:
        run_dir: a trained run.
        config: its configuration.
        root: the folder of all models.

    Returns:
        The version folder of each tower by its model name.
    """
    newest = latest_checkpoint(run_dir / "checkpoints")
    if newest is None:
        raise InputError(f"{run_dir} must hold a checkpoint. Found: none. Run train first.")
    names = {"query": "query_tower", "product": "product_tower", "pin": "pin_tower"}
    source = {"checkpoint": newest.name, "fingerprint": read_manifest(newest)["fingerprint"]}
    specs = read_manifest(run_dir / "examples")["entities"]
    assembly = None
    exported = {}
    for entity, name in names.items():
        if versions(root / name):
            latest = latest_version(root, name)
            if source.items() <= read_manifest(latest).items():
                exported[name] = latest
                continue
        if entity not in specs:
            continue
        if assembly is None:
            assembly = assemble(run_dir, config)
            restore_checkpoint(newest, assembly.model)
        if entity not in assembly.model.towers:
            continue
        module = (
            ExportedQueryTower(assembly)
            if entity == "query"
            else ExportedEntityTower(assembly, entity)
        )
        exported[name] = save_version(
            module,
            module.signatures(),
            root,
            name,
            {
                **source,
                "dimension": config.embedding_dim,
                "entity": specs[entity],
                "config": config.model_dump(mode="json"),
            },
        )
    return exported
