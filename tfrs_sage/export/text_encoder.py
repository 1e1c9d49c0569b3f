"""The query tower's encoder as its export runs it: no padding, few ops, weights in any format.

A Keras encoder works on `[batch, longest text]` and multiplies padding too, in several small
products a block. Here the tokens of all texts stand one after the other; only attention, which
must not see other texts, works on the padded form. Query, key and value are one product.
"""

from collections.abc import Mapping
from typing import Any

import keras
import keras_hub
import numpy as np
import tensorflow as tf

from tfrs_sage.errors import InputError
from tfrs_sage.export.stored_weights import StoredMatrix, StoredTable, WeightFormat
from tfrs_sage.towers import QueryTower
from tfrs_sage.types import Tensor

_LEAST_SQUARE = 1e-12  # as `towers.normalise`
_HIDDEN = -1e9  # added to the logits of padding: its share of a softmax is 0 in float32
_Layers = keras_hub.layers


class TextEncoder(tf.Module):
    """A trained `QueryTower` for inference: token ids in, L2-normalised embeddings out.

    Equal to the tower up to rounding. Takes backbones that are one stack of keras-hub's
    `TransformerEncoder` over token and position embeddings: BERT, DistilBERT, RoBERTa, XLM-R.

    Args:
        tower: the tower.
        format: how matrices and the token table are stored; norms and biases stay float32.

    Raises:
        InputError: a backbone of another kind.
    """

    def __init__(self, tower: QueryTower, format: WeightFormat) -> None:
        super().__init__(name="text_encoder")
        refused = unlike_layers(tower.backbone)
        if refused:
            raise InputError(
                "The encoder must be a stack of TransformerEncoder blocks, as those of BERT, "
                f"DistilBERT and RoBERTa are. Found: {', '.join(refused)} in "
                f"{tower.backbone.name}. Export it with --query-weights float32."
            )
        self.first_token_only = tower.config.pooling == "cls"
        layers = [layer for layer in tower.backbone.layers if layer.weights]
        tables = {
            path.split("/")[-2]: table
            for layer in layers
            for path, table in _weights(layer).items()
            if path.endswith("embeddings")
        }
        self.tokens = StoredTable(tables["token_embedding"], format)
        positions = tables["position_embedding"][: tower.config.max_length]
        if "segment_embedding" in tables:  # a query is one segment: the same vector everywhere
            positions = positions + tables["segment_embedding"][0]
        self.positions = StoredTable(positions, "float32")
        (norm,) = (one for one in layers if isinstance(one, keras.layers.LayerNormalization))
        self.norm = _Norm(_weights(norm), norm.name, norm.epsilon)
        self.blocks = [
            _Block(layer, format)
            for layer in layers
            if isinstance(layer, _Layers.TransformerEncoder)
        ]
        self.head = None
        if tower.head is not None:
            kernel, bias = (np.asarray(one, np.float32) for one in tower.head.weights)
            self.head = _Dense(kernel, bias, format)

    def __call__(self, features: Mapping[str, Tensor]) -> Tensor:
        """float32 `[n, d]` of the features that `QueryTower` takes."""
        layout = _Layout(features["padding_mask"], self.blocks[0].num_heads)
        ids = tf.gather_nd(features["token_ids"], layout.places)  # [T]
        states = self.norm(self.tokens(ids) + self.positions(layout.places[:, 1]))
        for block in self.blocks[:-1]:
            states = block(states, layout)
        states = self.blocks[-1](states, layout, self.first_token_only)
        pooled = states
        if not self.first_token_only:
            pooled = tf.math.segment_mean(states, layout.places[:, 0])
        if self.head is not None:
            pooled = self.head(pooled)
        square = tf.reduce_sum(pooled * pooled, axis=-1, keepdims=True)
        return pooled * tf.math.rsqrt(tf.maximum(square, _LEAST_SQUARE))


class _Layout:
    """Where the tokens of a batch stand: one after the other, and padded for each head.

    Both ways are look-ups of whole head vectors. Transposing would touch every number, and what
    is padded would have to be copied once more.

    Attributes:
        places: int32 `[T, 2]`, text and position of each token.
        first: int32 `[n]`, the first token of each text.
        split: int32 `[3, n, heads, length]`, the head vector of query, key and value for each
            place, among the `T * 3 * heads` of all tokens; any at padding.
        joined: int32 `[T, heads]`, the way back, among the `n * heads * length` of all places.
        hidden: float32 `[n, 1, 1, length]`, what is added to the logits of a token as a key.
    """

    def __init__(self, mask: Tensor, num_heads: int) -> None:
        n, length = tf.unstack(tf.shape(mask))
        self.places = tf.cast(tf.where(mask), tf.int32)
        tokens = tf.scatter_nd(self.places, tf.range(tf.shape(self.places)[0]), [n, length])
        self.first = tf.reshape(tokens[:, :1], [-1])
        vectors = tf.reshape(tf.range(3 * num_heads), [3, 1, num_heads, 1])
        self.split = tokens[:, tf.newaxis] * (3 * num_heads) + vectors
        text, position = tf.unstack(self.places[:, tf.newaxis], axis=2)  # [T, 1]
        self.joined = (text * num_heads + tf.range(num_heads)) * length + position
        self.hidden = tf.where(mask, 0.0, _HIDDEN)[:, tf.newaxis, tf.newaxis]


class _Dense(tf.Module):
    def __init__(self, kernel: np.ndarray, bias: np.ndarray, format: WeightFormat) -> None:
        super().__init__()
        self.kernel = StoredMatrix(kernel, format)
        self.bias = tf.Variable(bias, trainable=False)

    def __call__(self, inputs: Tensor) -> Tensor:
        return tf.nn.bias_add(self.kernel(inputs), self.bias)


class _Norm(tf.Module):
    def __init__(self, weights: Mapping[str, np.ndarray], name: str, epsilon: float) -> None:
        super().__init__()
        self.gamma = tf.Variable(weights[f"{name}/gamma"], trainable=False)
        self.beta = tf.Variable(weights[f"{name}/beta"], trainable=False)
        self.epsilon = epsilon

    def __call__(self, inputs: Tensor) -> Tensor:
        centred = inputs - tf.reduce_mean(inputs, axis=-1, keepdims=True)
        variance = tf.reduce_mean(centred * centred, axis=-1, keepdims=True)
        return centred * tf.math.rsqrt(variance + self.epsilon) * self.gamma + self.beta


class _Block(tf.Module):
    """One `TransformerEncoder`, its norms after the sums."""

    def __init__(self, layer: Any, format: WeightFormat) -> None:
        super().__init__()
        self.num_heads = layer.num_heads
        self.activation = layer.activation
        weights = _weights(layer)
        root, epsilon = layer.name, layer.layer_norm_epsilon
        attention = f"{root}/self_attention_layer"
        width = len(weights[f"{attention}/query/kernel"])
        self.head_dim = width // self.num_heads

        def flat(name: str) -> tuple[np.ndarray, np.ndarray]:
            kernel, bias = (weights[f"{attention}/{name}/{kind}"] for kind in ("kernel", "bias"))
            return kernel.reshape(width, width), bias.reshape(width)

        kernels, biases = zip(*(flat(name) for name in ("query", "key", "value")), strict=True)
        scale = np.float32(self.head_dim**-0.5)  # of the logits, made part of the query
        self.mixed = _Dense(
            np.concatenate([kernels[0] * scale, *kernels[1:]], axis=1),
            np.concatenate([biases[0] * scale, *biases[1:]]),
            format,
        )
        self.attended = _Dense(*flat("attention_output"), format)
        self.attention_norm = _Norm(weights, f"{attention}_norm", epsilon)
        self.inner, self.outer = (
            _Dense(weights[f"{root}/{name}/kernel"], weights[f"{root}/{name}/bias"], format)
            for name in ("feedforward_intermediate_dense", "feedforward_output_dense")
        )
        self.norm = _Norm(weights, f"{root}/feedforward_layer_norm", epsilon)

    def __call__(self, states: Tensor, layout: _Layout, first_only: bool = False) -> Tensor:
        """float32 `[T, width]` states of all tokens, of the texts' first ones `[n, width]`."""
        mixed = self.mixed(states)  # [T, 3 * width]
        joined = layout.joined
        if first_only:
            joined, states = tf.gather(joined, layout.first), tf.gather(states, layout.first)
        attended = self.attended(self._attend(mixed, layout.split, joined, layout.hidden))
        states = self.attention_norm(attended + states)
        return self.norm(self.outer(self.activation(self.inner(states))) + states)

    def _attend(self, mixed: Tensor, split: Tensor, joined: Tensor, hidden: Tensor) -> Tensor:
        vectors = tf.reshape(mixed, [-1, self.head_dim])
        query, key, value = tf.unstack(tf.gather(vectors, split))  # [n, heads, length, head_dim]
        shares = tf.nn.softmax(tf.matmul(query, key, transpose_b=True) + hidden)
        found = tf.reshape(tf.matmul(shares, value), [-1, self.head_dim])
        return tf.reshape(tf.gather(found, joined), [-1, self.num_heads * self.head_dim])


def unlike_layers(backbone: keras.Model) -> list[str]:
    """Layers with weights that `TextEncoder` has no place for; none where it can be built."""
    return [
        layer.name
        for layer in backbone.layers
        if layer.weights
        and layer.name != "pooled_dense"  # BERT's own pooler, which no tower reads
        and (not isinstance(layer, _KNOWN) or getattr(layer, "normalize_first", False))
    ]


_KNOWN = (
    _Layers.TokenAndPositionEmbedding,
    _Layers.PositionEmbedding,
    _Layers.TransformerEncoder,
    keras.layers.Embedding,
    keras.layers.LayerNormalization,
)


def _weights(layer: keras.layers.Layer) -> dict[str, np.ndarray]:
    """float32 arrays of a layer by their paths, its own name first."""
    return {
        f"{layer.name}/{variable.path.split(f'{layer.name}/', 1)[1]}": np.asarray(
            variable, np.float32
        )
        for variable in layer.weights
    }
