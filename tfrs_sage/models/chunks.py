"""The gradient of a batch whose activations do not fit: the towers see it in parts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfrs_sage.layers.sparse_gradients import add_gradients
from tfrs_sage.models.rows import num_rows, slice_rows
from tfrs_sage.types import Tensor

Features = Mapping[str, dict[str, Any]]  # by entity
Embed = Callable[[Features], dict[str, Tensor]]


def chunk(features: Features, i: int, num_chunks: int) -> Features:
    """The i-th of `num_chunks` parts of every entity's rows; they differ by one row at most."""
    parts = {}
    for entity, values in features.items():
        rows = num_rows(values)
        parts[entity] = slice_rows(values, rows * i // num_chunks, rows * (i + 1) // num_chunks)
    return parts


def cached_gradients(
    embed: Embed,
    loss_of: Callable[[dict[str, Tensor]], Tensor],
    features: Features,
    num_chunks: int,
    variables: Sequence[keras.Variable],
    random_state: Sequence[keras.Variable],
) -> tuple[Tensor, list[Any]]:
    """Loss and gradients of a whole batch, with the activations of one chunk in memory at a time.

    GradCache (Gao et al., 2021, arXiv 2101.06983): embed all chunks without keeping activations;
    take the loss over all embeddings and its gradient with respect to them; embed each chunk
    again, now with a tape, and push its rows of that gradient back into the weights. The negatives
    of a row are all of the batch, which gradient accumulation over smaller batches would not give.

    Args:
        embed: from features of the towers to embeddings `[rows, dim]`, by entity.
        loss_of: from the embeddings of the whole batch to the loss, a scalar.
        features: of the whole batch.
        num_chunks: int, how many parts.
        variables: to differentiate with respect to.
        random_state: seeds that `embed` advances (dropout): the second pass repeats the first's.

    Returns:
        The loss, and a gradient (a tensor, `tf.IndexedSlices` or None) for each of `variables`.
    """
    parts: list[dict[str, Tensor]] = []
    states = []
    for i in range(num_chunks):
        with tf.control_dependencies(list(parts[-1].values()) if parts else []):
            states.append([tf.identity(state.value) for state in random_state])
            parts.append(embed(chunk(features, i, num_chunks)))
    after = [tf.identity(state.value) for state in random_state]
    embeddings = {name: tf.concat([part[name] for part in parts], axis=0) for name in parts[0]}
    with tf.GradientTape() as tape:
        tape.watch(embeddings)
        loss = loss_of(embeddings)
    values = [variable.value for variable in variables]
    gradients, by_entity = tape.gradient(loss, (values, embeddings))
    for i, state in enumerate(states):
        done = [gradient for gradient in gradients if gradient is not None]
        with tf.control_dependencies([loss, *done]):
            for variable, value in zip(random_state, state, strict=True):
                variable.assign(value)
            wanted = {name: _chunk_of(by_entity[name], i, num_chunks) for name in by_entity}
            part = chunk(features, i, num_chunks)
            with tf.GradientTape() as tape:
                found = embed(part)
                surrogate = tf.add_n([tf.reduce_sum(found[n] * wanted[n]) for n in found])
            gradients = [
                add_gradients(total, part)
                for total, part in zip(gradients, tape.gradient(surrogate, values), strict=True)
            ]
    for variable, value in zip(random_state, after, strict=True):
        variable.assign(value)
    return loss, gradients


def _chunk_of(gradient: Tensor, i: int, num_chunks: int) -> Tensor:
    rows = tf.shape(gradient)[0]
    return gradient[rows * i // num_chunks : rows * (i + 1) // num_chunks]
