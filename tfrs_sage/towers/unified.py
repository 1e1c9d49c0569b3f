"""The unified tower of OmniSearchSage: one MLP for products and pins."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from tfrs_sage.errors import InputError
from tfrs_sage.layers import HashEmbeddingBag, SharedMLP
from tfrs_sage.schema.features import IMAGE_DIM, EntitySpec
from tfrs_sage.towers.config import EntityTowerConfig
from tfrs_sage.towers.entity import EntityTower, nothing_to_embed
from tfrs_sage.towers.normalise import l2_normalise
from tfrs_sage.types import Tensor

TEXT, IMAGES, ITEM = "text", "images", "item_tower"  # a vector column ends in `_embedding`


def unified_widths(
    entities: Sequence[tuple[EntitySpec, EntityTowerConfig]], embedding_dim: int
) -> dict[str, int]:
    """The inputs of the one MLP: all that any of the entities has, in a fixed order.

    Args:
        entities: what each has (the vectors that its tower takes) and its settings.
        embedding_dim: int, width of an item tower's embedding.

    Raises:
        InputError: two entities have a column of one name and two widths.
    """
    widths: dict[str, int] = {}
    if texts := [c.text_dim for spec, c in entities if c.use_text and spec.texts]:
        widths[TEXT] = texts[0]
    if any(config.use_images and spec.max_images for spec, config in entities):
        widths[IMAGES] = IMAGE_DIM
    columns = sorted({name for spec, c in entities if c.use_vectors for name in spec.vectors})
    for name in columns:
        found = {spec.entity: spec.vectors[name] for spec, _ in entities if name in spec.vectors}
        if len(set(found.values())) > 1:
            raise InputError(
                f"the unified tower needs {name} in one width. Found: {found}. Rename one of the "
                "columns, or leave it out with product_tower.vectors or pin_tower.vectors."
            )
        widths[name] = next(iter(found.values()))
    if any(config.item_tower for _, config in entities):
        widths[ITEM] = embedding_dim
    return widths


class UnifiedTower(keras.layers.Layer):
    """One embedding per product or pin, by an MLP and an n-gram table that both kinds share.

    OmniSearchSage (arXiv 2404.16260), section 3.3: each text feature is a hash-embedding bag of
    its own, the bags of those present are summed to one text vector; the vectors of the images
    present are averaged; these and the further vectors are put side by side, zeros where one is
    absent, and go through one MLP (`SharedMLP`); L2 normalisation ends it.

    With an item tower, ItemSage's transformer over the same features (arXiv 2205.11728) gives the
    product embedding that the paper feeds as it is. Differs from the paper: here it learns with
    the rest. So does `title_encoder`, as in `EntityTower`.

    Args:
        spec: which features the entity has.
        config: the tower's settings.
        mlp: shared with the other entity's tower, its widths from `unified_widths`.
        bag: shared too; None where no entity takes text.
        item_tower: of the same entity and bag; None for none.
        title_encoder: the query tower, where the config asks for it.

    Call arguments: as `EntityTower`.

    Returns:
        float32 `[batch_size, embedding_dim]`, L2-normalised.
    """

    def __init__(
        self,
        spec: EntitySpec,
        config: EntityTowerConfig,
        mlp: SharedMLP,
        bag: HashEmbeddingBag | None,
        item_tower: EntityTower | None = None,
        title_encoder: keras.layers.Layer | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        # === Config ===
        self.spec = spec
        self.config = config
        self.embedding_dim = mlp.output_dim
        self.takes_text = config.use_text and bool(spec.texts)
        self.takes_images = config.use_images and spec.max_images > 0
        self.vectors = tuple(spec.vectors) if config.use_vectors else ()
        if not (self.takes_text or self.takes_images or self.vectors):
            raise nothing_to_embed(spec)
        # === Layers ===
        self.bag = bag if self.takes_text else None
        self.mlp = mlp
        self.item_tower = item_tower
        self.title_encoder = title_encoder

    def build(self, *shapes: Any, **named_shapes: Any) -> None:
        if self.bag is not None and not self.bag.built:
            self.bag.build((None,), (None, None))
        if self.item_tower is not None:
            self.item_tower.build()
        if not self.mlp.built:
            self.mlp.build()
        self.built = True

    def call(self, features: Mapping[str, Any], training: bool = False) -> Tensor:
        parts: dict[str, Tensor] = {}
        if self.bag is not None:
            lengths = features["text_lengths"]  # [B, F]
            bags = self.bag(features["text_tokens"], lengths)  # [B, F, text_dim]
            features = {**features, "text_bags": bags}
            parts[TEXT] = ops.sum(bags * ops.cast(lengths > 0, bags.dtype)[:, :, None], axis=1)
        if self.takes_images:
            parts[IMAGES] = _mean(features["images"], features["num_images"])
        for name in self.vectors:
            present = features["vector_present"][name][:, None]
            parts[name] = tf.where(present, features["vectors"][name], 0.0)
        if self.item_tower is not None:
            parts[ITEM] = self.item_tower(features, training=training)
        embedding = self.mlp(parts)
        if self.title_encoder is not None:
            title = features.get("title_embedding")
            if title is None:
                title = self.title_encoder(features["title"], training=training)
            embedding += title
        return l2_normalise(embedding)


def _mean(images: Tensor, num_images: Tensor) -> Tensor:
    """Mean of the first `num_images` of each row's vectors, `[B, dim]`; zeros where none."""
    counts = tf.cast(num_images, images.dtype)[:, None]  # [B, 1]
    present = tf.sequence_mask(num_images, tf.shape(images)[1], images.dtype)  # [B, slots]
    return tf.reduce_sum(images * present[:, :, None], axis=1) / tf.maximum(counts, 1.0)
