"""This package's side of the training-step benchmark: the real model, loss and optimiser."""

import json
import statistics
import sys
from typing import Any

import numpy as np
from batches import TASK, TEXTS, Batches, checksum
from protocol import answer, peak_memory_bytes, seconds_of, usage

import tfrs_sage  # before TensorFlow

import keras  # isort: skip
import tensorflow as tf  # isort: skip
from keras_hub.models import DistilBertBackbone

from tfrs_sage.layers import HashEmbeddingBag
from tfrs_sage.models import RetrievalModel
from tfrs_sage.schema.features import EntitySpec
from tfrs_sage.towers import EntityTower, QueryTower, build_backbone
from tfrs_sage.towers.features import concatenate_features
from tfrs_sage.training.assemble import Assembly
from tfrs_sage.training.config import RunConfig, load_config
from tfrs_sage.training.fit import compile_model

NUM_STEPS = 1000  # of the schedule
# The `paper` preset's encoder is downloaded; here its shape with random weights.
DISTIL_BERT_MULTI = {
    "vocabulary_size": 119_547,
    "num_layers": 6,
    "num_heads": 12,
    "hidden_dim": 768,
    "intermediate_dim": 3072,
    "max_sequence_length": 512,
}


def build(config: RunConfig, dropout: float) -> Assembly:
    """The model of a preset, as `assemble` builds it, without a run folder."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(config.training.precision)
    query, product = config.query_tower, config.product_tower
    if query.preset is not None:
        backbone = DistilBertBackbone(**DISTIL_BERT_MULTI, dropout=dropout)
    else:
        query = query.model_copy(update={"dropout": dropout})
        backbone = build_backbone(query, config.preprocess.wordpiece_size)
    bag = HashEmbeddingBag(
        1 + sum(ngram_sizes(config)),
        product.text_dim,
        product.hash_table_size,
        product.num_hashes,
        name="hash_embedding",
    )
    spec = EntitySpec("product", texts=TEXTS, max_images=20, vectors={})
    towers = {
        "query": QueryTower(backbone, query, config.embedding_dim, name="query"),
        "product": EntityTower(spec, product, config.embedding_dim, bag, name="product"),
    }
    model = RetrievalModel(towers, [TASK], config.loss)
    model.build()
    pretrained = list(towers["query"].trainable_variables) if query.preset else []
    return Assembly(model, {}, {}, {}, pretrained)


def ngram_sizes(config: RunConfig) -> tuple[int, int, int]:
    sizes = config.preprocess
    return sizes.max_unigrams, sizes.max_bigrams, sizes.max_char_trigrams


class Ours:
    """Answers the benchmark's questions. Settings: see `train_step.Settings`."""

    def __init__(self, settings: dict[str, Any]) -> None:
        tf.config.threading.set_intra_op_parallelism_threads(settings["threads"])
        tf.config.threading.set_inter_op_parallelism_threads(settings["threads"])
        self.config = load_config(
            settings["size"], overrides=[f"training.precision={settings['precision']}"]
        )
        self.assembly = build(self.config, settings["dropout"])
        self.model = self.assembly.model
        compile_model(self.assembly, self.config, NUM_STEPS)
        draw = Batches(
            ngram_sizes(self.config), self.wordpieces(), self.config.query_tower.max_length
        )
        self.batches = [
            draw.draw(seed, settings["batch_size"], settings["random_negatives"])
            for seed in range(settings["num_batches"])
        ]
        data = [tf.data.Dataset.from_tensors(batch) for batch in self.batches]
        joined = data[0]
        for more in data[1:]:
            joined = joined.concatenate(more)
        self.data = iter(joined.repeat().prefetch(1))
        self.model.make_train_function()

    def wordpieces(self) -> int:
        return int(self.model.towers["query"].backbone.vocabulary_size)

    def spec(self) -> dict[str, Any]:
        """All that the peer needs to build the same model."""
        backbone = self.model.towers["query"].backbone
        return {
            "version": tfrs_sage.__version__,
            "tensorflow": tf.__version__,
            "num_parameters": sum(int(np.prod(v.shape)) for v in self.model.trainable_variables),
            "checksum": sum(checksum(batch) for batch in self.batches),
            "ngrams": ngram_sizes(self.config),
            "hashes": self.model.towers["product"].bag.hash_functions.tolist(),
            "query": {
                "vocabulary_size": self.wordpieces(),
                "num_layers": backbone.num_layers,
                "num_heads": backbone.num_heads,
                "hidden_dim": backbone.hidden_dim,
                "intermediate_dim": backbone.intermediate_dim,
                "positions": backbone.max_sequence_length,
                "max_length": self.config.query_tower.max_length,
                "pooling": self.config.query_tower.pooling,
                "pretrained": self.config.query_tower.preset is not None,
            },
            "product": self.config.product_tower.model_dump(),
            "embedding_dim": self.config.embedding_dim,
            "loss": self.config.loss.model_dump(),
            "training": self.config.training.model_dump(mode="json"),
            "num_steps": NUM_STEPS,
        }

    def save_weights(self, path: str) -> int:
        """All trainable weights by their paths, for the twin."""
        weights = {v.path: np.asarray(v) for v in self.model.trainable_variables}
        np.savez(path, **weights)
        return len(weights)

    def steps(self, count: int) -> list[float]:
        return seconds_of(lambda: self._step(), count)

    def _step(self) -> float:
        logs = self.model.train_function(self.data)
        return float(tf.nest.flatten(logs)[0])

    def losses(self, count: int) -> list[float]:
        """The loss of each of `count` steps. Keras shows a running mean: it is reset each time."""
        losses = []
        for _ in range(count):
            self.model.reset_metrics()
            losses.append(float(self.model.train_function(self.data)["loss"]))
        return losses

    def sparse_gradients(self) -> list[str]:
        """Paths of the weights whose gradient is `IndexedSlices`."""
        gradients = self._gradients(self.batches[0])
        sparse = [isinstance(gradient, tf.IndexedSlices) for gradient in gradients]
        weights = self.model.trainable_variables
        return [v.path for v, is_sparse in zip(weights, sparse, strict=True) if is_sparse]

    def _gradients(self, batch: Any) -> list[Any]:
        weights = [variable.value for variable in self.model.trainable_variables]

        @tf.function(autograph=False)
        def gradients(batch: Any) -> list[Any]:
            with tf.GradientTape() as tape:
                loss = self.model.compute_loss(x=batch, y_pred=self.model(batch, training=True))
            return tape.gradient(loss, weights)

        return gradients(tf.nest.map_structure(tf.constant, batch))

    def parts(self, repeats: int) -> dict[str, float]:
        """Median seconds of each part of a step by itself, forward and backward."""
        batch = tf.nest.map_structure(tf.constant, self.batches[0])
        pairs, negatives = batch["pairs"][TASK], batch["random"]["product"]
        products = concatenate_features([pairs["candidate"], negatives["features"]])
        towers = self.model.towers
        bag, texts = towers["product"].bag, (products["text_tokens"], products["text_lengths"])
        embedded = tf.nest.map_structure(tf.constant, self.model(batch))
        flat = tf.nest.flatten(embedded)
        gradients = self._gradients(self.batches[0])

        @tf.function(autograph=False)
        def embedding() -> Any:
            return _backward(lambda: bag(*texts), bag.trainable_variables)

        @tf.function(autograph=False)
        def entity() -> Any:
            tower = towers["product"]
            return _backward(lambda: tower(products, training=True), tower.trainable_variables)

        @tf.function(autograph=False)
        def query() -> Any:
            tower = towers["query"]
            inputs = pairs["query"]
            return _backward(lambda: tower(inputs, training=True), tower.trainable_variables)

        @tf.function(autograph=False)
        def loss() -> Any:
            with tf.GradientTape() as tape:
                tape.watch(flat)
                value = self.model.compute_loss(x=batch, y_pred=embedded)
            return tape.gradient(value, flat)

        @tf.function(autograph=False)
        def optimizer() -> None:
            self.model.optimizer.apply(gradients, self.model.trainable_variables)

        seconds = {}
        for part in (embedding, entity, query, loss, optimizer):
            part()
            seconds[part.__name__] = statistics.median(seconds_of(part, repeats))
        seconds["fusion"] = seconds.pop("entity") - seconds["embedding"]
        return seconds


def _backward(forward: Any, variables: list[Any]) -> Any:
    """Gradients of a linear function of what `forward` gives."""
    with tf.GradientTape() as tape:
        output = forward()
        loss = tf.reduce_sum(output * tf.cast(tf.range(tf.shape(output)[-1]), output.dtype))
    return tape.gradient(loss, [variable.value for variable in variables])


def main(settings: dict[str, Any]) -> None:
    side = Ours(settings)
    functions = {
        "save_weights": side.save_weights,
        "steps": side.steps,
        "losses": side.losses,
        "parts": side.parts,
        "sparse_gradients": side.sparse_gradients,
        "peak_memory_bytes": peak_memory_bytes,
        "usage": usage,
    }
    answer(side.spec(), functions)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
