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
    sum_over_replicas,
)
from tfrs_sage.models.chunks import cached_gradients
from tfrs_sage.models.fixed import fixed_pairs, mean_over_replicas, rows_where
from tfrs_sage.models.rows import Rows, embed_rows, join_rows, split_rows
from tfrs_sage.schema.features import CompatibilityTask, Task, compatibility_tasks
from tfrs_sage.tasks import FrequencySketches, SampledSoftmaxRetrieval, layer_name
from tfrs_sage.types import Tensor

SIDES = ("query", "candidate", "negative")


class RetrievalModel(keras.Model):
    """A two-tower (or three-tower) model trained on many retrieval tasks at once.

    A batch is a mapping:

        pairs: by task name, `query` and `candidate` (features of the towers of both sides),
            `query_id` and `candidate_id` (int64 `[sub_batch_size]`); with mined negatives also
            `negative` and `negative_id`, -1 where a pair has none; with compatibility tasks also
            `fixed`, by column `vectors` float `[sub_batch_size, width]` and `present` bool;
        random: by candidate entity, `features` and `id` of random catalogue negatives, and
            `fixed` likewise.

    Every tower runs once a step: the rows of all tasks and the random negatives are
    concatenated, embedded, then split. The loss is the weighted sum over the tasks (ItemSage,
    section 4.3) of the terms of `SampledSoftmaxRetrieval`, or their mean; in-batch negatives come
    from the task's own sub-batch. Under `tf.distribute` a batch is that of one replica; negatives
    and counts are those of all replicas.

    A compatibility task (OmniSearchSage, section 3) takes the queries of another task against
    vectors of a column, which no tower makes and no gradient reaches. It has counts and a softmax
    of its own, over the pairs and random negatives that have the vector, and no mined negatives:
    those are near in the space of the towers.

    Args:
        towers: the tower of each entity (`query`, `product`, `pin`) that the tasks name.
        tasks: the tasks, as names or `Task`s.
        loss: settings of the loss.
        task_weights: weight of a task's loss by its name; 1 where absent.
        num_chunks: int, parts in which the towers see a batch in training (`models.chunks`).
        compatibility: by candidate entity, the columns that text queries are trained against.
    """

    def __init__(
        self,
        towers: Mapping[str, keras.layers.Layer],
        tasks: Sequence[Task | str],
        loss: LossConfig | None = None,
        task_weights: Mapping[str, float] | None = None,
        num_chunks: int = 1,
        compatibility: Mapping[str, Sequence[str]] | None = None,
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
        self.compatibility = compatibility_tasks(self.tasks, compatibility or {})
        self.loss_config = loss or LossConfig()
        names = [str(task) for task in (*self.tasks, *self.compatibility)]
        self.task_weights = {name: (task_weights or {}).get(name, 1.0) for name in names}
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
            name: FrequencySketches(self.loss_config, name=layer_name(name)) for name in names
        }
        width, depth = self.loss_config.sketch_width, self.loss_config.sketch_depth
        self.random_sketches = {
            entity: CountMinSketch(width, depth, name=f"random_{entity}")
            for entity in sorted({task.candidate_type for task in self.tasks})
        }
        fixed = sorted({(one.task.candidate_type, one.column) for one in self.compatibility})
        self.fixed_sketches = {
            _fixed(*one): CountMinSketch(width, depth, name=layer_name(f"random_{_fixed(*one)}"))
            for one in fixed
        }
        self._heads = _Heads(names, self.loss_config, self.sketches)
        self._task_metrics = {
            (name, what): keras.metrics.Mean(name=f"{name}/{what}")
            for name in names
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

    def fixed_columns(self, entity: str) -> list[str]:
        """The columns of a candidate entity that queries are trained against."""
        return sorted({t.column for t in self.compatibility if t.task.candidate_type == entity})

    def random_negatives(self, batch: Any, embeddings: Any, training: bool) -> dict[str, Negatives]:
        """The random negatives of all replicas, counted and with their counts.

        Returns:
            By entity those that its tower embedded; by `entity@column` those with the vector.
        """
        negatives = {}
        for entity, vectors in embeddings["random"].items():
            random = batch["random"][entity]
            negatives[entity] = self._counted(
                vectors, random["id"], self.random_sketches[entity], training
            )
            for column in self.fixed_columns(entity):
                fixed, name = random["fixed"][column], _fixed(entity, column)
                negatives[name] = self._counted(
                    rows_where(fixed["vectors"], fixed["present"]),
                    rows_where(random["id"], fixed["present"]),
                    self.fixed_sketches[name],
                    training,
                )
        return negatives

    def _counted(
        self, vectors: Tensor, ids: Tensor, sketch: CountMinSketch, training: bool
    ) -> Negatives:
        ids = gather_rows(ids)
        if training:
            sketch.update(ids)
        counts = total = None
        if self.loss_config.correct_negatives:
            counts = tf.cast(sketch(ids), tf.float32)
            total = tf.cast(sketch.total.value, tf.float32)
        return Negatives(gather_rows(vectors), ids, None, counts, total)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """Weighted sum or mean of the tasks' losses, float32 scalar; `y_pred` is what `call` gave.

        Divided by the number of replicas, as Keras expects: it sums their gradients.
        """
        random = self.random_negatives(x, y_pred, training)
        total, num_terms = tf.constant(0.0), tf.constant(float(len(self.tasks)))
        for task in self.tasks:
            loss = self._task_loss(task, x, y_pred, random, training)
            total += self.task_weights[str(task)] * loss
        for one in self.compatibility:
            loss, num_rows = self._compatibility_loss(one, x, y_pred, random, training)
            total += self.task_weights[str(one)] * loss
            num_terms += tf.cast(sum_over_replicas(num_rows) > 0, tf.float32)
        if self.loss_config.reduction == "mean":
            total /= num_terms
        return total / num_replicas()

    def _task_loss(
        self, task: Task, x: Any, y_pred: Any, random: Mapping[str, Negatives], training: bool
    ) -> Tensor:
        pairs, embedded = x["pairs"][str(task)], y_pred["pairs"][str(task)]
        own = None
        if "negative" in embedded:
            own = OwnNegatives(embedded["negative"], pairs["negative_id"] >= 0)
        terms = self._heads.by_name[str(task)](
            embedded["query"],
            embedded["candidate"],
            pairs["query_id"],
            pairs["candidate_id"],
            self.log_scale.value,
            random.get(task.candidate_type),
            own,
            training=training,
        )
        return self._noted(str(task), terms)

    def _compatibility_loss(
        self,
        one: CompatibilityTask,
        x: Any,
        y_pred: Any,
        random: Mapping[str, Negatives],
        training: bool,
    ) -> tuple[Tensor, Tensor]:
        """The loss, and how many rows of this replica have the vector: float32 scalars."""
        name = str(one.task)
        pairs = fixed_pairs(x["pairs"][name], y_pred["pairs"][name]["query"], one.column)
        terms = self._heads.by_name[str(one)](
            *pairs,
            self.log_scale.value,
            random.get(_fixed(one.task.candidate_type, one.column)),
            training=training,
        )
        num_rows = tf.cast(tf.shape(pairs.query_ids)[0], tf.float32)
        loss = self._noted(str(one), terms, num_rows)
        return mean_over_replicas(loss, num_rows), num_rows

    def _noted(
        self, name: str, terms: Mapping[str, Tensor], num_rows: Tensor | None = None
    ) -> Tensor:
        """The sum of a head's loss terms; what it reports goes to the metrics.

        Unweighted, so that tasks can be compared and a weight changes no curve by itself.
        """
        told = {what: terms[what] for what in ("accuracy", "masked")}
        loss = tf.add_n([term for what, term in terms.items() if what not in told])
        for what, value in {**told, "loss": loss}.items():
            self._task_metrics[name, what].update_state(value, sample_weight=num_rows)
        return loss

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
        self, names: Sequence[str], config: LossConfig, sketches: Mapping[str, FrequencySketches]
    ) -> None:
        self.by_name = {
            name: SampledSoftmaxRetrieval(config, sketches[name], name=name) for name in names
        }


def _fixed(entity: str, column: str) -> str:
    """What the random negatives of an entity with a vector of the column go by."""
    return f"{entity}@{column}"


@keras.saving.register_keras_serializable("tfrs_sage")
class _AtMost(keras.constraints.Constraint):
    """Clamps a weight from above after each update, as the official implementation does."""

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def __call__(self, w: Tensor) -> Tensor:
        return keras.ops.minimum(w, self.limit)

    def get_config(self) -> dict[str, float]:
        return {"limit": self.limit}
