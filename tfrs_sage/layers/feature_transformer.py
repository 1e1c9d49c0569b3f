"""A set of feature vectors as one: a transformer over them, read at a learned [CLS] token."""

from typing import Any

import keras
import keras_hub
from keras import ops

from tfrs_sage.layers.read_out_block import ReadOutBlock
from tfrs_sage.types import Tensor


@keras.saving.register_keras_serializable("tfrs_sage")
class FeatureTransformer(keras.layers.Layer):
    """Mixes the feature vectors of a row by self-attention; absent features take no part.

    ItemSage section 4.1: a learned global [CLS] vector is put before the projected features, one
    transformer encoder block (deeper gave nothing) runs over the set, the output at [CLS] stands
    for the row. There are no positions: the features are a set. The last block is worked out at
    [CLS] alone (`ReadOutBlock`), where the result is read.

    Args:
        hidden_dim: int, width of every feature vector (512 in the paper).
        num_heads: int, attention heads (8 in the paper).
        num_layers: int, encoder blocks (1 in the paper).
        intermediate_dim: int, width of the block's feed-forward layer.
        dropout: float, in the block.

    Call arguments:
        features: float `[batch_size, num_features, hidden_dim]`.
        mask: bool `[batch_size, num_features]`, True where a feature is present.

    Returns:
        float `[batch_size, hidden_dim]`. A row without any feature gives what [CLS] alone gives.
    """

    def __init__(
        self,
        hidden_dim: int,
        num_heads: int = 8,
        num_layers: int = 1,
        intermediate_dim: int = 2048,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        # === Config ===
        self.hidden_dim = hidden_dim
        self.num_heads = num_heads
        self.num_layers = num_layers
        self.intermediate_dim = intermediate_dim
        self.dropout = dropout
        # === Layers ===
        self.blocks: list[keras.layers.Layer] = [
            keras_hub.layers.TransformerEncoder(
                intermediate_dim=intermediate_dim,
                num_heads=num_heads,
                dropout=dropout,
                activation="gelu",
                normalize_first=True,
                dtype=self.dtype_policy,
                name=f"block_{i}",
            )
            for i in range(num_layers - 1)
        ]
        self.read_out = ReadOutBlock(
            num_heads,
            intermediate_dim,
            dropout,
            dtype=self.dtype_policy,
            name=f"block_{num_layers - 1}",
        )
        self.norm = keras.layers.LayerNormalization(dtype=self.dtype_policy, name="norm")

    def build(self, features_shape: Any, mask_shape: Any = None) -> None:
        self.cls = self.add_weight(
            shape=(self.hidden_dim,),
            initializer=keras.initializers.TruncatedNormal(0.0, 0.02),
            name="cls",
        )
        shape = (None, None, self.hidden_dim)
        for block in self.blocks:
            block.build(shape)
        self.read_out.build(shape)
        self.norm.build((None, self.hidden_dim))
        self.built = True

    def call(self, features: Tensor, mask: Tensor, training: bool = False) -> Tensor:
        sequence, present = self._up_to_read_out(features, mask, training)
        return self.norm(self.read_out(sequence, present, training=training))  # [B, H]

    def cls_attention(self, features: Tensor, mask: Tensor) -> Tensor:
        """What [CLS] takes of itself and of each feature in the last block, mean of the heads.

        Args:
            features: float `[batch_size, num_features, hidden_dim]`.
            mask: bool `[batch_size, num_features]`.

        Returns:
            float32 `[batch_size, 1 + num_features]`, [CLS] first; rows sum to 1.
        """
        sequence, present = self._up_to_read_out(features, mask, training=False)
        weights = self.read_out.attention_weights(sequence, present)  # [B, 1 + F, N]
        return ops.mean(ops.cast(weights, "float32"), axis=-1)

    def _up_to_read_out(
        self, features: Tensor, mask: Tensor, training: bool
    ) -> tuple[Tensor, Tensor]:
        """The tokens that the last block reads, [CLS] first, and which take part."""
        batch_size = ops.shape(features)[0]
        cls = ops.broadcast_to(
            ops.cast(self.cls, features.dtype), (batch_size, 1, self.hidden_dim)
        )  # [B, 1, H]
        sequence = ops.concatenate([cls, features], axis=1)  # [B, 1 + F, H]
        present = ops.concatenate([ops.ones((batch_size, 1), "bool"), mask], axis=1)
        for block in self.blocks:
            sequence = block(sequence, padding_mask=present, training=training)
        return sequence, present

    def compute_output_shape(self, features_shape: Any, mask_shape: Any = None) -> tuple[Any, ...]:
        return (features_shape[0], self.hidden_dim)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "num_heads": self.num_heads,
            "num_layers": self.num_layers,
            "intermediate_dim": self.intermediate_dim,
            "dropout": self.dropout,
        }
