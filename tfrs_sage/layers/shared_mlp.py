"""The MLP of the unified tower: named vectors side by side, absent ones zero."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from tfrs_sage.types import Tensor


@keras.saving.register_keras_serializable("tfrs_sage")
class SharedMLP(keras.layers.Layer):
    """One MLP over the concatenation of named vectors, of which a caller gives those it has.

    OmniSearchSage (arXiv 2404.16260), section 3.3: dense layers, each but the last followed by
    ReLU and then LayerNorm. Whoever calls it, every name has its own place in the input.

    Args:
        widths: width of each input by its name; their order is that of the concatenation.
        hidden_dims: widths of the hidden layers (1024, 1024 in the paper's code).
        output_dim: int, width of the result.
        zero_start: bool, whether the last layer starts at zero, for a result that is added to
            something else.

    Call arguments:
        parts: float `[batch_size, width]` by name, one or more of `widths`; those left out are
            zeros.

    Returns:
        float32 `[batch_size, output_dim]`.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        hidden_dims: Sequence[int],
        output_dim: int,
        zero_start: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        # === Config ===
        self.widths = dict(widths)
        self.hidden_dims = tuple(hidden_dims)
        self.output_dim = output_dim
        self.zero_start = zero_start
        # === Layers ===
        policy = self.dtype_policy
        self.hidden = [
            keras.layers.Dense(width, activation="relu", dtype=policy, name=f"hidden_{i}")
            for i, width in enumerate(self.hidden_dims)
        ]
        self.norms = [
            keras.layers.LayerNormalization(epsilon=1e-5, dtype=policy, name=f"norm_{i}")
            for i, _ in enumerate(self.hidden_dims)
        ]
        self.head = keras.layers.Dense(
            output_dim,
            kernel_initializer="zeros" if zero_start else "glorot_uniform",
            # Not zero by default: with all inputs absent the bias is what there is to normalise.
            bias_initializer="zeros" if zero_start else keras.initializers.RandomNormal(0.0, 0.05),
            dtype="float32",
            name="head",
        )

    def build(self, *shapes: Any) -> None:
        width = sum(self.widths.values())
        for dense, norm in zip(self.hidden, self.norms, strict=True):
            dense.build((None, width))
            width = dense.units
            norm.build((None, width))
        self.head.build((None, width))
        self.built = True

    def call(self, parts: Mapping[str, Tensor]) -> Tensor:
        if unknown := parts.keys() - self.widths.keys():
            raise ValueError(
                f"`parts` must be of {', '.join(self.widths)}. Received: "
                f"{', '.join(sorted(unknown))}."
            )
        batch_size = tf.shape(next(iter(parts.values())))[0]
        columns = [
            ops.cast(parts[name], self.compute_dtype)
            if name in parts
            else tf.zeros([batch_size, width], self.compute_dtype)
            for name, width in self.widths.items()
        ]
        vectors = ops.concatenate(columns, axis=1)  # [B, sum of widths]
        for dense, norm in zip(self.hidden, self.norms, strict=True):
            vectors = norm(dense(vectors))
        return self.head(ops.cast(vectors, "float32"))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "widths": self.widths,
            "hidden_dims": self.hidden_dims,
            "output_dim": self.output_dim,
            "zero_start": self.zero_start,
        }
