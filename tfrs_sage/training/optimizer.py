"""AdamW whose cost follows the batch and not the size of the tables; the learning-rate schedule."""

import math
from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf

from tfrs_sage.types import Tensor


@keras.saving.register_keras_serializable("tfrs_sage")
class LazyAdamW(keras.optimizers.AdamW):
    """AdamW with a sparse update for sparse gradients and a rate of its own for some weights.

    A gradient that comes as `tf.IndexedSlices` (of an embedding table) updates only its rows: the
    moments of rows that a batch does not touch stay as they are ("lazy Adam"), where
    `keras.optimizers.AdamW` would make the gradient dense.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rate_factors: dict[Any, float] = {}

    def set_rate_factor(self, variables: Iterable[keras.Variable], factor: float) -> None:
        """These variables learn at `factor` times the rate; 0 freezes them."""
        for variable in variables:
            self._rate_factors[self._var_key(variable)] = factor

    def _clip_gradients(self, grads: list[Tensor]) -> list[Tensor]:
        if not self.global_clipnorm:
            return grads
        # Keras' own clipping would make sparse gradients dense.
        clipped, _ = tf.clip_by_global_norm(grads, self.global_clipnorm)
        return clipped

    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Tensor) -> None:
        learning_rate = learning_rate * self._rate_factors.get(self._var_key(variable), 1.0)
        if not isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable, learning_rate)
            return
        step = tf.cast(self.iterations.value + 1, variable.dtype)
        rate = tf.cast(learning_rate, variable.dtype)
        rate *= tf.sqrt(1.0 - tf.pow(self.beta_2, step)) / (1.0 - tf.pow(self.beta_1, step))
        rows, position = tf.unique(gradient.indices)
        values = tf.math.unsorted_segment_sum(gradient.values, position, tf.size(rows))
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
