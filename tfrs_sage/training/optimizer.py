"""AdamW and LAMB whose cost follows the batch and not the tables; the learning-rate schedule."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfrs_sage.layers.sparse_gradients import each_row_once
from tfrs_sage.losses import update_everywhere
from tfrs_sage.types import Tensor


class _LazyRows:
    """What both optimizers add to those of Keras.

    - A gradient that comes as `tf.IndexedSlices` (of an embedding table) updates only its rows:
      the moments of rows that a batch does not touch stay as they are ("lazy Adam"), where Keras
      would make the gradient dense.
    - Some weights learn at a rate of their own.
    - Under `tf.distribute` gradients are summed over the replicas *before* they are clipped, so
      that the norm is that of the global batch. Keras clips each replica's own.

    Attributes:
        gradient_norm: float32 scalar variable, of all gradients of the last step, before clipping.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rate_factors: dict[Any, float] = {}

    def build(self: Any, variables: list[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)  # type: ignore[misc]
        self.gradient_norm = self.add_variable(shape=(), dtype="float32", name="gradient_norm")

    def set_rate_factor(self: Any, variables: Iterable[keras.Variable], factor: float) -> None:
        """These variables learn at `factor` times the rate; 0 freezes them."""
        for variable in variables:
            self._rate_factors[self._var_key(variable)] = factor

    def apply(self: Any, grads: Sequence[Any], trainable_variables: Any = None) -> None:
        summed = [each_row_once(grad) for grad in _sum_over_replicas(list(grads))]
        super().apply(summed, trainable_variables)  # type: ignore[misc]

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> Any:
        return grads_and_vars  # `apply` has done it

    def _clip_gradients(self: Any, grads: list[Tensor]) -> list[Tensor]:
        # Keras' own clipping would make sparse gradients dense.
        norm = tf.linalg.global_norm(grads)
        update_everywhere(self.gradient_norm.value, lambda copy, value: copy.assign(value), norm)
        if not self.global_clipnorm:
            return grads
        clipped, _ = tf.clip_by_global_norm(grads, self.global_clipnorm, use_norm=norm)
        return clipped

    def update_step(self: Any, gradient: Tensor, variable: Any, learning_rate: Tensor) -> None:
        learning_rate = learning_rate * self._rate_factors.get(self._var_key(variable), 1.0)
        if not isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable, learning_rate)  # type: ignore[misc]
            return
        step = tf.cast(self.iterations.value + 1, variable.dtype)
        rate = tf.cast(learning_rate, variable.dtype)
        rate *= tf.sqrt(1.0 - tf.pow(self.beta_2, step)) / (1.0 - tf.pow(self.beta_1, step))
        rows, values = gradient.indices, gradient.values
        index = self._get_variable_index(variable)
        momentum, velocity = self._momentums[index].value, self._velocities[index].value
        new_momentum = self.beta_1 * tf.gather(momentum, rows) + (1.0 - self.beta_1) * values
        new_velocity = self.beta_2 * tf.gather(velocity, rows) + (1.0 - self.beta_2) * values**2
        momentum.scatter_update(tf.IndexedSlices(new_momentum, rows))
        velocity.scatter_update(tf.IndexedSlices(new_velocity, rows))
        change = rate * new_momentum / (tf.sqrt(new_velocity) + self.epsilon)
        # Keras hands over its own variable, or under tf.distribute that of TensorFlow.
        target = variable.value if isinstance(variable, keras.Variable) else variable
        target.scatter_sub(tf.IndexedSlices(change, rows))


def _sum_over_replicas(grads: list[Any]) -> list[Any]:
    """Gradients of the global batch; absent ones stay absent."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return grads
    present = [grad for grad in grads if grad is not None]
    summed = iter(context.all_reduce(tf.distribute.ReduceOp.SUM, present))
    return [None if grad is None else next(summed) for grad in grads]


@keras.saving.register_keras_serializable("tfrs_sage")
class LazyAdamW(_LazyRows, keras.optimizers.AdamW):
    """AdamW (Loshchilov and Hutter, 2019), lazy for embedding tables."""


@keras.saving.register_keras_serializable("tfrs_sage")
class LazyLamb(_LazyRows, keras.optimizers.Lamb):
    """LAMB (You et al., 2020, arXiv 1904.00962), which OmniSearchSage trains with.

    Embedding tables get the lazy Adam update, without a trust ratio: it would take the norm of the
    whole table. As in Keras, and unlike the paper, weight decay stands outside the trust ratio.
    """


@keras.saving.register_keras_serializable("tfrs_sage")
class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to `peak`, then half a cosine to zero at `num_steps`."""

    def __init__(self, peak: float, num_steps: int, warmup_steps: int) -> None:
        self.peak, self.num_steps, self.warmup_steps = peak, num_steps, warmup_steps

    def __call__(self, step: Tensor) -> Tensor:
        step = tf.cast(step, tf.float32)
        warmup = (step + 1.0) / max(1, self.warmup_steps)
        share = (step - self.warmup_steps) / max(1, self.num_steps - self.warmup_steps)
        cosine = 0.5 * (1.0 + tf.cos(math.pi * tf.clip_by_value(share, 0.0, 1.0)))
        return self.peak * tf.minimum(warmup, cosine)

    def get_config(self) -> dict[str, Any]:
        return {
            "peak": self.peak,
            "num_steps": self.num_steps,
            "warmup_steps": self.warmup_steps,
        }
