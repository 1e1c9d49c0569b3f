"""The towers as SavedModels that take raw features: texts as strings, images as vectors."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrs_sage.artefacts import read_manifest
from tfrs_sage.errors import InputError
from tfrs_sage.export.query_tower import query_export, untracked
from tfrs_sage.export.save import Export, save_versions
from tfrs_sage.export.savedmodel import newest_version
from tfrs_sage.export.stored_weights import WeightFormat
from tfrs_sage.export.warmup import catalogue_records, entity_tower_requests
from tfrs_sage.export.weight_check import RECALL_LOSS
from tfrs_sage.schema.features import IMAGE_DIM, IMAGES, MAX_IMAGES
from tfrs_sage.towers.features import parse_records
from tfrs_sage.training.assemble import Assembly, assemble
from tfrs_sage.training.checkpoints import latest_checkpoint, restore_checkpoint
from tfrs_sage.training.config import RunConfig
from tfrs_sage.types import Tensor


class ExportedEntityTower(tf.Module):
    """Raw features of products (or pins) -> float32 `[n, d]`.

    The signature takes every feature of the schema, whether the training data had it or not, so
    that a client needs no change when a later model uses more of them; what this model was not
    trained on does not reach the tower.
    """

    def __init__(self, assembly: Assembly, entity: str) -> None:
        super().__init__(name=f"{entity}_tower")
        self.entity = entity
        tower = assembly.model.towers[entity]
        self.embedding_dim = tower.embedding_dim
        self.encode, self.kept = untracked(tower)
        self.features = assembly.features[entity]
        self.spec = assembly.specs[entity]
        self.vocabulary = self.features.vocabulary
        if self.features.title_features is not None:
            self.tokenizer = self.features.title_features.tokenizer.tokenizer

    def embed(self, raw: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        embedding = self.encode(self.features(raw))
        return {"embedding": tf.ensure_shape(embedding, [None, self.embedding_dim])}

    def signatures(self) -> dict[str, Any]:
        texts = self.spec.raw_texts
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


def export_towers(
    run_dir: Path,
    config: RunConfig,
    root: Path,
    query_weights: WeightFormat | None = None,
    recall_loss: float = RECALL_LOSS,
) -> dict[str, Path]:
    """Exports `query_tower`, `product_tower` and `pin_tower`, those that the model has.

    A tower that has a version of the same checkpoint and training is not written again.

    Args:
        run_dir: a trained run.
        config: its configuration.
        root: the folder of all models.
        query_weights: how the query tower's weights are kept; None for float32, or for what the
            newest version of this checkpoint has.
        recall_loss: the most of Recall@10 that smaller weights may lose; more is an error.

    Returns:
        The version folder of each tower by its model name.

    Raises:
        InputError: no checkpoint; smaller weights where recall cannot be measured.
        RuntimeError: an export that embeds otherwise, or loses more than `recall_loss`.
    """
    newest = latest_checkpoint(run_dir / "checkpoints")
    if newest is None:
        raise InputError(f"{run_dir} must hold a checkpoint. Found: none. Run train first.")
    names = {"query": "query_tower", "product": "product_tower", "pin": "pin_tower"}
    source = {"checkpoint": newest.name, "fingerprint": read_manifest(newest)["fingerprint"]}
    specs = read_manifest(run_dir / "examples")["entities"]
    exported: dict[str, Path] = {}
    for entity, name in names.items():
        done = newest_version(root, name, source)
        if done is None or (entity == "query" and query_weights not in (None, _weights_of(done))):
            continue
        exported[name] = done
    missing = [entity for entity in names if names[entity] not in exported and entity in specs]
    if not missing:
        return exported
    assembly = assemble(run_dir, config)
    restore_checkpoint(newest, assembly.model)
    new: list[Export] = []
    for entity in missing:
        if entity not in assembly.model.towers:
            continue
        if entity == "query":
            weights = query_weights or "float32"
            product_tower = exported.get("product_tower")
            one = query_export(assembly, run_dir, weights, product_tower, recall_loss)
        else:
            module = ExportedEntityTower(assembly, entity)
            warmup = entity_tower_requests(catalogue_records(run_dir, entity), module.spec)
            one = Export(names[entity], module, module.signatures(), warmup)
        manifest = {
            **source,
            "dimension": config.embedding_dim,
            "entity": specs[entity],
            "config": config.model_dump(mode="json"),
            **one.manifest,
        }
        new.append(dataclasses.replace(one, manifest=manifest))
    return exported | save_versions(new, root)


def _weights_of(folder: Path) -> str:
    """The format of an exported query tower's weights."""
    weights: str = read_manifest(folder).get("weights", "float32")
    return weights
