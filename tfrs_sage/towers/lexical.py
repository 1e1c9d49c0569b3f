"""Exact words beside meaning: an encoder's embedding joined with that of a text's n-grams."""

import math
from typing import Any

import keras
from keras import ops

from tfrs_sage.layers import HashEmbeddingBag
from tfrs_sage.towers.normalise import l2_normalise
from tfrs_sage.types import Tensor


class LexicalPart(keras.layers.Layer):
    """Joins an encoder's embedding with the normalised bag of the text's n-grams.

    `[sqrt(1 - s) encoder, sqrt(s) bag]`, both of length 1, so that the dot product of two texts
    is a weighted sum of two cosines: how near their meanings are, and which words, pairs of words
    and trigrams they share. The share s is learned, and read from the encoder's embedding: a part
    number wants another one than a wish.

    After `HashEmbeddingBag.start_as_projection` the second cosine starts as that of
    two TF-IDF vectors under a random projection, before anything has been learned.

    Differs from OmniSearchSage (arXiv 2404.16260), whose query tower is an encoder alone: one
    that never met a part number or a brand cannot tell it from another.

    Args:
        bag: the bag of n-grams; its width is that of the part that this layer adds.
        share: float in (0, 1), s at the start, of every text.

    Call arguments:
        embedding: float32 `[batch_size, d]`, L2-normalised.
        tokens: int32 `[num_tokens]`, n-gram ids of all texts one after another.
        lengths: int32 `[batch_size, 1]`, how many each text has.

    Returns:
        float32 `[batch_size, d + bag.dim]`, L2-normalised. A text with no known n-gram has zeros
        there, and all of its length in the encoder's part.
    """

    def __init__(self, bag: HashEmbeddingBag, share: float, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)
        if not 0 < share < 1:
            raise ValueError(f"`share` must be in (0, 1). Received: {share!r}.")
        self.bag = bag
        self.share = keras.layers.Dense(
            1,
            kernel_initializer="zeros",
            bias_initializer=keras.initializers.Constant(math.log(share / (1 - share))),
            dtype="float32",
            name="share",
        )

    def build(self, embedding_shape: Any, *shapes: Any) -> None:
        if not self.bag.built:
            self.bag.build((None,), (None, None))
        self.share.build(embedding_shape)
        self.built = True

    def call(self, embedding: Tensor, tokens: Tensor, lengths: Tensor) -> Tensor:
        bag = ops.where(lengths > 0, self.bag(tokens, lengths)[:, 0], 0.0)  # [B, bag.dim]
        share = ops.sigmoid(self.share(embedding))  # [B, 1]
        parts = [embedding * ops.sqrt(1.0 - share), l2_normalise(bag) * ops.sqrt(share)]
        return l2_normalise(ops.concatenate(parts, axis=1))
