"""Retrieval heads: TFRS tasks over the sampled softmax with its corrections."""

import re
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_sage.losses import (
    CountMinSketch,
    LossConfig,
    Negatives,
    OwnNegatives,
    cut,
    false_negative_mask,
    gather_rows,
    mean_of_rows,
    retrieval_losses,
    weighted_widths,
)
from tfrs_sage.types import Tensor

# Keeps the key of a (query, positive) pair apart from that of (positive, query): the official
# implementation's choice, reproduced so that its golden numbers can be.
PAIR_MULTIPLIER = 17


class FrequencySketches(keras.layers.Layer):
    """The counts of one head: of its queries, of its pairs, of its positives as negatives.

    Being weights that do not train, they are part of the model and of its checkpoint.
    """

    def __init__(self, config: LossConfig, name: str) -> None:
        super().__init__(name=name, trainable=False, dtype="float32")
        width, depth = config.sketch_width, config.sketch_depth
        self.queries = CountMinSketch(width, depth, name="queries")
        self.pairs = CountMinSketch(width, depth, name="pairs")
        self.positives = CountMinSketch(width, depth, name="positives")
        self.built = True


class SampledSoftmaxRetrieval(tfrs.tasks.Retrieval):
    """A TFRS retrieval task with the loss of OmniSearchSage in place of the plain softmax.

    Differs from `tfrs.tasks.Retrieval`: the corrections are in log space and not clipped, they
    come from streaming counts of this head (or, for random negatives, of the catalogue), both
    sides are corrected, the temperature is learned and shared by all heads, random negatives have
    a softmax of their own, and the loss is the mean over the rows and not their sum.

    The task is not tracked by the Keras 3 model; its sketches are, through the model.
    """

    def __init__(self, config: LossConfig, sketches: FrequencySketches, name: str) -> None:
        super().__init__(name=layer_name(name))
        self._config = config
        self._sketches = sketches

    def call(
        self,
        query_embeddings: Tensor,
        candidate_embeddings: Tensor,
        query_ids: Tensor,
        candidate_ids: Tensor,
        log_scale: Tensor,
        random_negatives: Negatives | None = None,
        own_negatives: OwnNegatives | None = None,
        sample_weight: Tensor | None = None,
        training: bool = True,
    ) -> Mapping[str, Tensor]:
        """Loss terms of one sub-batch; the counts are updated first when training.

        Args:
            query_embeddings: float `[batch_size, dim]`.
            candidate_embeddings: float `[batch_size, dim]`, the positives, row by row.
            query_ids: int64 `[batch_size]`.
            candidate_ids: int64 `[batch_size]`.
            log_scale: float scalar.
            random_negatives: catalogue candidates with their counts.
            own_negatives: a mined negative of each row.
            sample_weight: float `[batch_size]` or None.
            training: bool, whether the sketches count this batch. They must have counted the
                batch at least once before it is evaluated: the log of a count of 0 is -inf.

        Returns:
            float32 scalars: each term of the loss by name (weighted, with its width, where
            prefixes are trained), `accuracy`, the share of rows whose positive scores above all
            other positives of the batch, and `masked`, the share of in-batch negatives that are
            true and so left out.
        """
        in_batch = self.in_batch_negatives(candidate_embeddings, query_ids, candidate_ids, training)
        log_p = None
        if self._config.correct_positives:
            log_p = tf.math.log(
                tf.cast(self._sketches.pairs(pair_ids(query_ids, candidate_ids)), tf.float32)
            )
            log_p -= tf.math.log(tf.cast(self._sketches.queries(query_ids), tf.float32))
        widths = weighted_widths(
            self._config.prefix_weights, query_embeddings.shape[-1], candidate_embeddings.shape[-1]
        )
        terms: dict[str, Tensor] = {}
        for width, weight in widths.items():
            losses = retrieval_losses(
                self._config.mode,
                cut(query_embeddings, width),
                cut(candidate_embeddings, width),
                query_ids,
                candidate_ids,
                log_scale,
                _cut(in_batch, width),
                _cut(random_negatives, width),
                log_p,
                sample_weight,
                _cut(own_negatives, width),
            )
            terms.update({f"{name}@{width}": weight * loss for name, loss in losses.items()})
        widest = max(widths)
        terms["accuracy"] = in_batch_accuracy(
            cut(query_embeddings, widest),
            cut(candidate_embeddings, widest),
            query_ids,
            candidate_ids,
        )
        terms["masked"] = masked_share(query_ids, candidate_ids, in_batch)
        return terms

    def in_batch_negatives(
        self, candidates: Tensor, query_ids: Tensor, candidate_ids: Tensor, training: bool
    ) -> Negatives:
        """The positives of all replicas as negatives, counted when training."""
        query_ids, candidate_ids = gather_rows(query_ids), gather_rows(candidate_ids)
        if training:
            self._sketches.queries.update(query_ids)
            self._sketches.pairs.update(pair_ids(query_ids, candidate_ids))
            self._sketches.positives.update(candidate_ids)
        candidates = gather_rows(candidates)
        most = self._config.max_in_batch_negatives  # None takes all
        candidates, candidate_ids = candidates[:most], candidate_ids[:most]
        query_ids = query_ids[:most]
        counts = total = None
        if self._config.correct_negatives:
            counts = tf.cast(self._sketches.positives(candidate_ids), tf.float32)
            total = tf.cast(self._sketches.positives.total.value, tf.float32)
        return Negatives(candidates, candidate_ids, query_ids, counts, total)


def layer_name(task: str) -> str:
    """The name of a task as TensorFlow takes it for a layer; an action may be any word."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", task)


def pair_ids(query_ids: Tensor, candidate_ids: Tensor) -> Tensor:
    """int64 `[n]`, one key for each (query, candidate)."""
    return candidate_ids + PAIR_MULTIPLIER * query_ids


def _cut(negatives: Any, width: int) -> Any:
    """Negatives of either kind with the prefix of their embeddings; None stays None."""
    if negatives is None:
        return None
    return negatives._replace(embeddings=cut(negatives.embeddings, width))


def masked_share(query_ids: Tensor, positive_ids: Tensor, negatives: Negatives) -> Tensor:
    """Share of the in-batch negatives of other pairs that are left out as true, float32."""
    masked = false_negative_mask(query_ids, positive_ids, negatives)  # [B, N]
    own = positive_ids[:, None] == negatives.ids[None, :]
    own &= query_ids[:, None] == negatives.query_ids[None, :]  # type: ignore[index]
    others = tf.reduce_sum(tf.cast(~own, tf.float32))
    return tf.math.divide_no_nan(tf.reduce_sum(tf.cast(masked & ~own, tf.float32)), others)


def in_batch_accuracy(
    query: Tensor, positive: Tensor, query_ids: Tensor, positive_ids: Tensor
) -> Tensor:
    """Share of rows whose positive scores above every true negative of the batch, float32."""
    scores = tf.matmul(
        tf.cast(query, tf.float32), tf.cast(positive, tf.float32), transpose_b=True
    )  # [B, B]
    true = (positive_ids[:, None] == positive_ids[None, :]) | (
        query_ids[:, None] == query_ids[None, :]
    )
    best_negative = tf.reduce_max(tf.where(true, scores.dtype.min, scores), axis=1)
    return mean_of_rows(tf.cast(tf.linalg.diag_part(scores) > best_negative, tf.float32))
