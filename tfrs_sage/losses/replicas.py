"""What the loss shares between replicas: negatives and counts are those of the global batch."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfrs_sage.types import Tensor


def num_replicas() -> int:
    """Replicas that take part in the step; 1 outside `tf.distribute`."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else int(context.num_replicas_in_sync)


def gather_rows(values: Tensor) -> Tensor:
    """The rows of all replicas, in the order of the replicas: `[n, ...]` -> `[global n, ...]`.

    Gradients flow back to the replica that each row came from. Every replica must call it in the
    same order with rows of the same shape; their number may differ.
    """
    if num_replicas() == 1:
        return values
    # The copy has the replica's device, which all_gather reads; an input of the step has none.
    gathered = tf.distribute.get_replica_context().all_gather(tf.identity(values), axis=0)
    return tf.ensure_shape(gathered, [None, *values.shape[1:]])


def sum_over_replicas(value: Tensor) -> Tensor:
    """The sum of every replica's value, on all of them; the value itself without replicas."""
    if num_replicas() == 1:
        return value
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(value))


def update_everywhere(variable: Any, update: Callable[[Any, Any], Any], value: Any) -> None:
    """Runs `update(copy, value)` on each replica's copy of a variable.

    For a value that is the same on all replicas: aggregating it over them, as an assignment inside
    of a replica would, is neither needed nor possible for every kind of update and strategy.

    Args:
        variable: a `tf.Variable`, mirrored or not.
        update: changes one copy in place.
        value: tensors, given to `update`.
    """

    def everywhere(strategy: tf.distribute.Strategy, value: Any) -> None:
        strategy.extended.update(variable, update, args=(value,), group=False)

    # What Keras' optimizers update their variables with.
    tf.__internal__.distribute.interim.maybe_merge_call(
        everywhere, tf.distribute.get_strategy(), value
    )
