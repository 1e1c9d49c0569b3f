"""Towers and heads as one trainable Keras model."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfrs_sage.losses import (
    CountMinSketch,
    LossConfig,
    Negatives,
    OwnNegatives,
    gather_rows,
    num_replicas,
)
from tfrs_sage.models.chunks import cached_gradients
from tfrs_sage.models.rows import Rows, embed_rows, join_rows, split_rows
from tfrs_sage.schema.features import Task
from tfrs_sage.tasks import FrequencySketches, SampledSoftmaxRetrieval
from tfrs_sage.types import Tensor

SIDES = ("query", "candidate", "negative")


class RetrievalModel(keras.Model):
    """A two-tower (or three-tower) model trained on many retrieval tasks at once.

    A batch is a mapping:

        pairs: by task name, `query` and `candidate` (features of the towers of both sides),
            `query_id` and `candidate_id` (int64 `[sub_batch_size]`); with mined negatives also
            `negative` and `negative_id`, -1 where a pair has none;
        random: by candidate entity, `features` and `id` of random catalogue negatives.

    Every tower runs once a step: the rows of all tasks and the random negatives are
    concatenated, embedded, then split. The loss is the weighted sum over the tasks (ItemSage,
    section 4.3) of the terms of `SampledSoftmaxRetrieval`; in-batch negatives come from the task's
    own sub-batch. Under `tf.distribute` a batch is that of one replica; negatives and counts are
    those of all replicas.

    Args:
        towers: the tower of each entity (`query`, `product`, `pin`) that the tasks name.
        tasks: the tasks, as names or `Task`s.
        loss: settings of the loss.
        task_weights: weight of a task's loss by its name; 1 where absent.
        num_chunks: int, parts in which the towers see a batch in training (`models.chunks`).
    """

    def __init__(
        self,
        towers: Mapping[str, keras.layers.Layer],
        tasks: Sequence[Task | str],
        loss: LossConfig | None = None,
        task_weights: Mapping[str, float] | None = None,
        num_chunks: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.tasks = [task if isinstance(task, Task) else Task.parse(task) for task in tasks]
        entities = {
            entity for task in self.tasks for entity in (task.query_entity, task.candidate_type)
        }
        if missing := entities - set(towers):
            raise ValueError(
                f"Every entity of a task needs a tower. Received: no tower of {sorted(missing)}; "
                f"towers: {sorted(towers)}, tasks: {[str(task) for task in self.tasks]}."
            )
        self.loss_config = loss or LossConfig()
        self.task_weights = {
            str(task): (task_weights or {}).get(str(task), 1.0) for task in self.tasks
        }
        self.num_chunks = num_chunks
        self._embed_chunk: Any = None
        self.towers = dict(towers)
        self.log_scale = self.add_weight(
            shape=(),
            dtype="float32",
            initializer=keras.initializers.Constant(
                -math.log(self.loss_config.initial_temperature)
            ),
            constraint=_AtMost(math.log(self.loss_config.max_scale)),
            name="log_scale",
        )
        self.sketches = {
            str(task): FrequencySketches(self.loss_config, name=str(task).replace("/", "_"))
            for task in self.tasks
        }
        width, depth = self.loss_config.sketch_width, self.loss_config.sketch_depth
        self.random_sketches = {
            entity: CountMinSketch(width, depth, name=f"random_{entity}")
            for entity in sorted({task.candidate_type for task in self.tasks})
        }
        self._heads = _Heads(self.tasks, self.loss_config, self.sketches)
        self._task_metrics = {
            (str(task), what): keras.metrics.Mean(name=f"{task}/{what}")
            for task in self.tasks
            for what in ("loss", "accuracy", "masked")
        }

    @property
    def needs_random_negatives(self) -> bool:
        return self.loss_config.mode != "in_batch"

    def build(self, *shapes: Any, **named_shapes: Any) -> None:
        for tower in self.towers.values():
            if not tower.built:
                tower.build()
        self.built = True

    def call(self, batch: Mapping[str, Any], training: bool = False) -> Mapping[str, Any]:
        """Embeddings of a batch, in its own structure: float32 `[rows, dim]` each."""
        rows = join_rows(batch, self.tasks)
        features = {entity: joined.features for entity, joined in rows.items()}
        return self.restructure(batch, rows, self.embed(features, training))

    def embed(
        self, features: Mapping[str, Mapping[str, Any]], training: bool = False
    ) -> dict[str, Tensor]:
        """Embeddings of each entity's rows, float32 `[rows, dim]`; each tower runs once."""
        return embed_rows(self.towers, features, training)

    def restructure(
        self, batch: Mapping[str, Any], rows: Mapping[str, Rows], embeddings: Mapping[str, Tensor]
    ) -> dict[str, Any]:
        """From embeddings by entity to the structure of the batch."""
        pieces = split_rows(rows, embeddings)
        return {
            "pairs": {
                name: {side: pieces[name, side] for side in SIDES if (name, side) in pieces}
                for name in batch["pairs"]
            },
            "random": {entity: pieces["random", entity] for entity in batch.get("random", {})},
        }

    def random_negatives(self, batch: Any, embeddings: Any, training: bool) -> dict[str, Negatives]:
        """The random negatives of each entity on all replicas, counted and with their counts."""
        negatives = {}
        for entity, vectors in embeddings["random"].items():
            ids, sketch = gather_rows(batch["random"][entity]["id"]), self.random_sketches[entity]
            if training:
                sketch.update(ids)
            counts = total = None
            if self.loss_config.correct_negatives:
                counts = tf.cast(sketch(ids), tf.float32)
                total = tf.cast(sketch.total.value, tf.float32)
            negatives[entity] = Negatives(gather_rows(vectors), ids, None, counts, total)
        return negatives

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """Weighted sum of the tasks' losses, float32 scalar; `y_pred` is what `call` gave.

        Divided by the number of replicas, as Keras expects: it sums their gradients.
        """
        random = self.random_negatives(x, y_pred, training)
        total = tf.constant(0.0)
        for task in self.tasks:
            name = str(task)
            pairs, embedded = x["pairs"][name], y_pred["pairs"][name]
            own = None
            if "negative" in embedded:
                own = OwnNegatives(embedded["negative"], pairs["negative_id"] >= 0)
            terms = dict(
                self._heads.by_task[name](
                    embedded["query"],
                    embedded["candidate"],
                    pairs["query_id"],
                    pairs["candidate_id"],
                    self.log_scale.value,
                    random.get(task.candidate_type),
                    own,
                    training=training,
                )
            )
            for what in ("accuracy", "masked"):
                self._task_metrics[name, what].update_state(terms.pop(what))
            loss = tf.add_n(list(terms.values()))
            # Unweighted, so that tasks can be compared and a weight changes no curve by itself.
            self._task_metrics[name, "loss"].update_state(loss)
            total += self.task_weights[name] * loss
        return total / num_replicas()

    def train_step(self, data: Any) -> dict[str, Any]:
        if self.num_chunks == 1:
            return super().train_step(data)
        batch, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        loss, gradients = self.chunked_gradients(batch)
        super().metrics[0].update_state(loss * num_replicas())
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        return self.get_metrics_result()

    def chunked_gradients(self, batch: Mapping[str, Any]) -> tuple[Tensor, list[Any]]:
        """The loss, and the gradients (scaled as the optimizer asks) of the trainable weights."""
        rows = join_rows(batch, self.tasks)
        found: list[Tensor] = []

        def loss_of(embeddings: Mapping[str, Tensor]) -> Tensor:
            embedded = self.restructure(batch, rows, embeddings)
            found.append(self.compute_loss(x=batch, y_pred=embedded, training=True))
            return self.optimizer.scale_loss(found[0])

        if self._embed_chunk is None:
            # Traced once, called for every chunk and pass.
            self._embed_chunk = tf.function(
                lambda features: self.embed(features, training=True),
                autograph=False,
                reduce_retracing=True,
            )
        _, gradients = cached_gradients(
            self._embed_chunk,
            loss_of,
            {entity: joined.features for entity, joined in rows.items()},
            self.num_chunks,
            self.trainable_weights,
            [v for v in self.non_trainable_variables if v.name == "seed_generator_state"],
        )
        return found[0], gradients

    @property
    def metrics(self) -> list[Any]:
        return [*super().metrics[:1], *self._task_metrics.values()]


class _Heads:
    """The heads by task name, where Keras 3 does not look for layers: they are of Keras 2."""

    def __init__(
        self, tasks: Sequence[Task], config: LossConfig, sketches: Mapping[str, FrequencySketches]
    ) -> None:
        self.by_task = {
            str(task): SampledSoftmaxRetrieval(config, sketches[str(task)], name=str(task))
            for task in tasks
        }


@keras.saving.register_keras_serializable("tfrs_sage")
class _AtMost(keras.constraints.Constraint):
    """Clamps a weight from above after each update, as the official implementation does."""

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def __call__(self, w: Tensor) -> Tensor:
        return keras.ops.minimum(w, self.limit)

    def get_config(self) -> dict[str, float]:
        return {"limit": self.limit}
