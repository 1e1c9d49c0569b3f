"""The query tower: a text encoder, pooled, projected, normalised."""

import itertools
from collections.abc import Mapping
from typing import Any

import keras
import keras_hub
import tensorflow as tf
from keras import ops

from tfrs_sage.errors import InputError
from tfrs_sage.layers import HashEmbeddingBag
from tfrs_sage.towers.backbone import freeze, rate_factors
from tfrs_sage.towers.config import QueryTowerConfig
from tfrs_sage.towers.lexical import LexicalPart
from tfrs_sage.towers.normalise import l2_normalise
from tfrs_sage.types import Tensor

NUM_LENGTH_GROUPS = 4  # of a batch: more groups save little and cost a call each
FEWEST_ROWS_TO_GROUP = 32  # when serving: below, the calls cost more than the padding


def build_backbone(config: QueryTowerConfig, vocabulary_size: int) -> keras.Model:
    """The encoder that the config names, with its pretrained weights, or one from scratch.

    Args:
        config: settings.
        vocabulary_size: int, of the run's WordPiece vocabulary; used from scratch only.
    """
    if config.preset is not None:
        return keras_hub.models.Backbone.from_preset(config.preset)
    return keras_hub.models.DistilBertBackbone(
        vocabulary_size=vocabulary_size,
        num_layers=config.num_layers,
        num_heads=config.num_heads,
        hidden_dim=config.hidden_dim,
        intermediate_dim=config.intermediate_dim,
        dropout=config.dropout,
        max_sequence_length=config.max_length,
    )


class QueryTower(keras.layers.Layer):
    """One embedding per text.

    OmniSearchSage (arXiv 2404.16260), section 3.2: a transformer encoder, its [CLS] state (or the
    mean over the tokens, which sentence encoders are trained for), a linear layer, L2.

    Differs from the paper: the first blocks can be frozen, lower layers can learn more slowly
    (`towers.backbone`), the linear layer can be left out, and the text's n-grams can give the last
    components (`LexicalPart`).

    Args:
        backbone: a keras-hub text backbone, which becomes the tower's own.
        config: settings.
        embedding_dim: int, width of the result.
        bag: of the text's n-grams, where the config's `lexical_dim` asks for it.

    Call arguments: a mapping with
        token_ids: int32 `[batch_size, length]`, any length up to the config's.
        padding_mask: bool `[batch_size, length]`, True on tokens, False on padding.
        text_tokens: int32 `[num_tokens]` and
        text_lengths: int32 `[batch_size, 1]`, the n-gram ids, with a bag.

    Returns:
        float32 `[batch_size, embedding_dim]`, L2-normalised.
    """

    def __init__(
        self,
        backbone: keras.Model,
        config: QueryTowerConfig,
        embedding_dim: int,
        bag: HashEmbeddingBag | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        # === Config ===
        self.config = config
        self.embedding_dim = embedding_dim
        encoder_dim = embedding_dim - (0 if bag is None else bag.dim)
        if encoder_dim < 1:
            raise InputError(
                "query_tower.lexical_dim must leave components of embedding_dim to the encoder. "
                f"Found: {embedding_dim - encoder_dim} of {embedding_dim}."
            )
        # === Layers ===
        self.backbone = freeze(backbone, config.frozen_layers)
        for layer in backbone.layers:
            if layer.name == "pooled_dense":  # BERT's own pooler, which neither pooling reads
                layer.trainable = False
        output = backbone.output
        width = (output["sequence_output"] if isinstance(output, dict) else output).shape[-1]
        self.head: keras.layers.Layer | None = None
        if config.head == "linear":
            # Orthogonal: what the pretrained encoder calls near stays near through the projection.
            self.head = keras.layers.Dense(
                encoder_dim, kernel_initializer="orthogonal", dtype="float32", name="head"
            )
            self.head.build((None, width))
        elif width != encoder_dim:
            lexical = embedding_dim - encoder_dim
            raise InputError(
                "query_tower.head=none needs embedding_dim to be the encoder's width plus "
                f"lexical_dim. Found: embedding_dim {embedding_dim}, width {width}, lexical_dim "
                f"{lexical}. Set embedding_dim to {width + lexical}, or query_tower.head to linear."
            )
        self.lexical: LexicalPart | None = None
        if bag is not None:
            self.lexical = LexicalPart(bag, config.lexical_share, name="lexical")
            self.lexical.build((None, encoder_dim))

    def build(self, *shapes: Any, **named_shapes: Any) -> None:
        self.built = True

    def rate_factors(self) -> list[tuple[list[keras.Variable], float]]:
        """The trainable weights by depth, and the factor of the tower's rate that each has."""
        factors = rate_factors(self.backbone, self.config.layer_rate_decay)
        if self.head is not None:
            factors.append((list(self.head.trainable_variables), 1.0))
        return factors

    def call(self, features: Mapping[str, Tensor], training: bool = False) -> Tensor:
        encoded = self.encoded(features, training)
        if self.lexical is None:
            return encoded
        return self.lexical(encoded, features["text_tokens"], features["text_lengths"])

    def encoded(self, features: Mapping[str, Tensor], training: bool = False) -> Tensor:
        """The encoder's part of the embeddings, float32 `[batch_size, encoder_dim]`."""
        token_ids, mask = features["token_ids"], features["padding_mask"]
        if training:
            return self.encode_by_length(token_ids, mask, training)
        return tf.cond(
            tf.shape(token_ids)[0] >= FEWEST_ROWS_TO_GROUP,
            lambda: self.encode_by_length(token_ids, mask, training),
            lambda: self.encode(token_ids, mask),
        )

    def encode_by_length(self, token_ids: Tensor, mask: Tensor, training: bool) -> Tensor:
        """As `encode`, in groups of like length, each padded to its own longest text.

        The same embeddings for a good part of the tokens less.
        """
        lengths = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)  # [B]
        order = tf.argsort(lengths, stable=True)
        groups = []
        for rows in tf.split(order, _group_sizes(tf.size(order))):
            longest = tf.reduce_max(tf.concat([tf.gather(lengths, rows), [1]], axis=0))
            ids, present = (tf.gather(values, rows)[:, :longest] for values in (token_ids, mask))
            groups.append(self.encode(ids, present, training))
        return tf.gather(tf.concat(groups, axis=0), tf.argsort(order))

    def encode(self, token_ids: Tensor, mask: Tensor, training: bool = False) -> Tensor:
        """Embeddings `[batch_size, encoder_dim]` of padded texts `[batch_size, length]`."""
        inputs = {"token_ids": token_ids, "padding_mask": mask}
        if any(tensor.name == "segment_ids" for tensor in self.backbone.inputs):
            inputs["segment_ids"] = ops.zeros_like(token_ids)
        output = self.backbone(inputs, training=training)
        tokens = output["sequence_output"] if isinstance(output, dict) else output  # [B, L, D]
        if self.config.pooling == "cls":
            pooled = tokens[:, 0]
        else:
            weights = ops.cast(mask, tokens.dtype)[:, :, None]
            pooled = ops.sum(tokens * weights, axis=1) / ops.maximum(ops.sum(weights, axis=1), 1.0)
        pooled = ops.cast(pooled, "float32")
        return l2_normalise(pooled if self.head is None else self.head(pooled))


def _group_sizes(num_rows: Tensor) -> list[Tensor]:
    """`NUM_LENGTH_GROUPS` sizes that differ by one at most and add up to `num_rows`."""
    bounds = [num_rows * i // NUM_LENGTH_GROUPS for i in range(NUM_LENGTH_GROUPS + 1)]
    return [stop - start for start, stop in itertools.pairwise(bounds)]
