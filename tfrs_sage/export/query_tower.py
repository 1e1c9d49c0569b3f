"""The query tower as a SavedModel: texts in, embeddings out, weights as large as they must be."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfrs_sage.errors import InputError
from tfrs_sage.export.save import Export
from tfrs_sage.export.stored_weights import WeightFormat
from tfrs_sage.export.text_encoder import TextEncoder, unlike_layers
from tfrs_sage.export.warmup import catalogue_records, query_texts, query_tower_requests
from tfrs_sage.export.weight_check import check_recall, check_same
from tfrs_sage.towers import QueryTower
from tfrs_sage.towers.features import QueryFeatures
from tfrs_sage.training.assemble import Assembly
from tfrs_sage.types import Tensor


class ExportedQueryTower(tf.Module):
    """string `[n]` -> float32 `[n, d]`, its tokenizer inside.

    Callable, so that it can be part of a retrieval export. Where the backbone is one that
    `TextEncoder` knows, the graph is that of `TextEncoder`; else that of the trained tower.

    Args:
        tower: the trained tower.
        features: from texts to what it takes.
        weights: the format that its matrices are kept in.

    Raises:
        InputError: smaller weights for a backbone that `TextEncoder` does not know.
    """

    def __init__(
        self, tower: QueryTower, features: QueryFeatures, weights: WeightFormat = "float32"
    ) -> None:
        super().__init__(name="query_tower")
        self.features = features
        # What a SavedModel must carry is found through attributes of modules.
        self.tokenizer = features.tokenizer.tokenizer
        self.vocabulary = features.vocabulary
        # Partial functions, not layers: a SavedModel would find Keras' variables in layers, too.
        self.encode: Callable[..., Tensor]
        self.kept: list[Any] = []
        if weights == "float32" and unlike_layers(tower.backbone):
            self.encode = functools.partial(tower.encoded, training=False)
            self.kept = [variable.value for variable in tower.variables]
        else:
            self.encode = TextEncoder(tower, weights)
        self.add_lexical = None
        if tower.lexical is not None:
            lexical: Any = tower.lexical
            self.add_lexical = functools.partial(lexical)
            if not self.kept:
                self.kept = [variable.value for variable in tower.lexical.variables]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="query")])
    def __call__(self, query: Tensor) -> Tensor:
        features = self.features({"text": query})
        embedding = self.encode(features)
        if self.add_lexical is None:
            return embedding
        return self.add_lexical(embedding, features["text_tokens"], features["text_lengths"])

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


def untracked(tower: keras.layers.Layer) -> tuple[Callable[..., Tensor], list[Any]]:
    """A tower for inference that a SavedModel does not see, and its variables, which it does.

    Keras' variables wrap TensorFlow's, and a SavedModel that finds both writes every weight twice.
    """
    return functools.partial(tower, training=False), [one.value for one in tower.variables]


def query_export(
    assembly: Assembly,
    run_dir: Path,
    weights: WeightFormat,
    product_tower: Path | None,
    lost: float,
) -> Export:
    """The query tower to be saved, once it has been compared with the trained one.

    Args:
        assembly: the trained model.
        run_dir: its run.
        weights: the format to keep.
        product_tower: its exported product tower, where there is one.
        lost: the most of Recall@10 that smaller weights may lose.

    Raises:
        InputError: smaller weights before the run's products are embedded.
        RuntimeError: it embeds otherwise, or smaller weights lose too much.
    """
    tower, features = assembly.model.towers["query"], assembly.features["query"]
    module = ExportedQueryTower(tower, features, weights)
    records = catalogue_records(run_dir, "query")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def trained(query: Tensor) -> Tensor:
        return tower(features({"text": query}), training=False)

    manifest: dict[str, Any] = {"weights": weights}
    if weights == "float32":
        check_same(trained, module, [text.decode() for text in query_texts(records)])
    elif product_tower is None or not (run_dir / "embeddings" / "product").is_dir():
        raise InputError(
            "Smaller weights are taken when recall over the run's products holds. Found: no "
            f"embedded products in {run_dir}. Run `tfrs-sage embed` first, then export."
        )
    else:
        manifest["recall"] = check_recall(run_dir, product_tower, trained, module, lost)
    return Export(
        "query_tower", module, module.signatures(), query_tower_requests(records), manifest
    )
