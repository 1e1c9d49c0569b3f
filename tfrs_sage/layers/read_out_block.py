"""The transformer block that ends a tower: worked out at the one token that is read."""

from typing import Any

import keras
from keras import ops

from tfrs_sage.types import Tensor

MASKED_LOGIT = -1e4  # fits in float16; its exponential is 0 beside any logit of a token


@keras.saving.register_keras_serializable("tfrs_sage")
class ReadOutBlock(keras.layers.Layer):
    """A pre-norm transformer encoder block whose output is wanted at the first token alone.

    The same weights and the same value as `keras_hub.layers.TransformerEncoder` with
    `normalize_first=True` has at token 0, at a fraction of the work: where nothing reads the
    other tokens after the block, they only have to give their keys and values. The query, the
    output projection and the feed-forward layer, five sixths of a block's weights, run once a
    row and not once a token.

    Args:
        num_heads: int, attention heads.
        intermediate_dim: int, width of the feed-forward layer.
        dropout: float, of the attention's weights and of what both halves add.

    Call arguments:
        sequence: float `[batch_size, num_tokens, hidden_dim]`.
        mask: bool `[batch_size, num_tokens]`, True where a token takes part.

    Returns:
        float `[batch_size, hidden_dim]`.
    """

    def __init__(
        self, num_heads: int, intermediate_dim: int, dropout: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        # === Config ===
        self.num_heads = num_heads
        self.intermediate_dim = intermediate_dim
        self.dropout = dropout

    def build(self, sequence_shape: Any, mask_shape: Any = None) -> None:
        # === Layers: named and in the order of keras-hub's block, so that checkpoints agree ===
        width, policy = sequence_shape[-1], self.dtype_policy
        self.attention = keras.layers.MultiHeadAttention(
            self.num_heads, width // self.num_heads, dtype=policy, name="self_attention_layer"
        )
        self.attention.build(sequence_shape, sequence_shape)
        self.attention_norm = keras.layers.LayerNormalization(
            epsilon=1e-5, dtype=policy, name="self_attention_layer_norm"
        )
        self.attention_norm.build(sequence_shape)
        self.feedforward_norm = keras.layers.LayerNormalization(
            epsilon=1e-5, dtype=policy, name="feedforward_layer_norm"
        )
        self.feedforward_norm.build((None, width))
        self.inner = keras.layers.Dense(
            self.intermediate_dim,
            activation="gelu",
            dtype=policy,
            name="feedforward_intermediate_dense",
        )
        self.inner.build((None, width))
        self.outer = keras.layers.Dense(width, dtype=policy, name="feedforward_output_dense")
        self.outer.build((None, self.intermediate_dim))
        self.drop_weights = keras.layers.Dropout(self.dropout, dtype=policy)
        self.drop_attended = keras.layers.Dropout(self.dropout, dtype=policy)
        self.drop_fed = keras.layers.Dropout(self.dropout, dtype=policy)
        self.built = True

    def call(self, sequence: Tensor, mask: Tensor, training: bool = False) -> Tensor:
        first = sequence[:, 0]  # [B, W]
        attended = self._attend(self.attention_norm(sequence), mask, training)
        first = first + self.drop_attended(attended, training=training)
        fed = self.outer(self.inner(self.feedforward_norm(first)))
        return first + self.drop_fed(fed, training=training)

    def _attend(self, sequence: Tensor, mask: Tensor, training: bool) -> Tensor:
        """What token 0 takes from all, `[batch_size, hidden_dim]`.

        With one query a row, products and sums do what would else be a matrix product for each
        row and head, too small each to be worth the call.
        """
        weights = self.drop_weights(self._weights(sequence, mask), training=training)
        values = self.attention.value_dense(sequence)
        mixed = ops.sum(weights[..., None] * values, axis=1, keepdims=True)  # [B, 1, N, D]
        return self.attention.output_dense(mixed)[:, 0]

    def _weights(self, sequence: Tensor, mask: Tensor) -> Tensor:
        """Of the normalised tokens, `[batch_size, num_tokens, num_heads]`."""
        attention = self.attention
        query = attention.query_dense(sequence[:, :1])  # [B, 1, N, D]
        query = query * (float(attention.key_dim) ** -0.5)
        logits = ops.sum(query * attention.key_dense(sequence), axis=-1)  # [B, S, N]
        return ops.softmax(ops.where(mask[:, :, None], logits, MASKED_LOGIT), axis=1)

    def attention_weights(self, sequence: Tensor, mask: Tensor) -> Tensor:
        """What token 0 takes of every token.

        Args:
            sequence: float `[batch_size, num_tokens, hidden_dim]`.
            mask: bool `[batch_size, num_tokens]`.

        Returns:
            float `[batch_size, num_tokens, num_heads]`, summing to 1 over the tokens; 0 where
            masked.
        """
        return self._weights(self.attention_norm(sequence), mask)

    def compute_output_shape(self, sequence_shape: Any, mask_shape: Any = None) -> tuple[Any, ...]:
        return (sequence_shape[0], sequence_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "intermediate_dim": self.intermediate_dim,
            "dropout": self.dropout,
        }
