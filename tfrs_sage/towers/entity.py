"""The product tower of ItemSage, and the same tower over a pin's features."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from tfrs_sage.layers import FeatureTransformer, HashEmbeddingBag
from tfrs_sage.schema.features import IMAGE_DIM, EntitySpec
from tfrs_sage.towers.config import EntityTowerConfig
from tfrs_sage.towers.normalise import l2_normalise
from tfrs_sage.types import Tensor


def nothing_to_embed(spec: EntitySpec) -> ValueError:
    """The error of a tower whose entity has no feature that the settings take."""
    return ValueError(
        f"The {spec.entity} tower must have a feature to embed. Received: texts {spec.texts}, "
        f"{spec.max_images} images, vectors {dict(spec.vectors)}, of which the config takes none. "
        f"Fill a column of the {spec.entity}s table, or switch use_text, use_images or "
        "use_vectors on."
    )


class EntityTower(keras.layers.Layer):
    """One embedding per product (or pin) from its images, texts and further vectors.

    ItemSage (arXiv 2205.11728), section 4.1: each image vector, each text feature (a
    hash-embedding bag of n-grams) and each further vector is projected to one width; a
    transformer mixes those that are present and is read at a [CLS] token; an MLP head and L2
    normalisation follow. `fusion="sum"` and `"sum_mlp"` are the paper's baselines: the sum of the
    projected features, then a linear layer or the MLP head.

    Differs from the paper: with `text_encoder="query"` the query tower also embeds the title, and
    the head's output is added to that embedding before the last normalisation. The head then
    starts at zero, so that training begins where the pretrained encoder stands.

    Args:
        spec: which features the entity has.
        config: the tower's settings.
        embedding_dim: int, width of the result.
        bag: the hash-embedding bag, shared between towers; None where no text is taken.
        title_encoder: the query tower, where the config asks for it.

    Call arguments: a mapping with, as far as the spec has them,
        text_tokens: int32 `[num_tokens]`, n-gram ids of all texts, row by row, text by text.
        text_lengths: int32 `[batch_size, num_texts]`, ids of each text; 0 is an absent text.
        images: float `[batch_size, num_slots, 256]`, any number of slots.
        num_images: int32 `[batch_size]`, slots in use.
        text_bags: float `[batch_size, num_texts, text_dim]`, where the bag has run already.
        vectors: mapping of float `[batch_size, dim]` by column name.
        vector_present: mapping of bool `[batch_size]` by column name.
        title: mapping of `token_ids` and `padding_mask`, for the title encoder;
        title_embedding: float `[batch_size, embedding_dim]`, where it has run already.

    Returns:
        float32 `[batch_size, embedding_dim]`, L2-normalised.
    """

    def __init__(
        self,
        spec: EntitySpec,
        config: EntityTowerConfig,
        embedding_dim: int,
        bag: HashEmbeddingBag | None,
        title_encoder: keras.layers.Layer | None = None,
        **kwargs: Any,
    ) -> None:
        # Inputs are cast by the layers that take them: a title's embedding must stay float32.
        super().__init__(autocast=False, **kwargs)
        # === Config ===
        self.spec = spec
        self.config = config
        self.embedding_dim = embedding_dim
        self.takes_text = config.use_text and bool(spec.texts)
        self.takes_images = config.use_images and spec.max_images > 0
        self.vector_dims = dict(spec.vectors) if config.use_vectors else {}
        if not (self.takes_text or self.takes_images or self.vector_dims):
            raise nothing_to_embed(spec)
        # === Layers ===
        policy, width = self.dtype_policy, config.hidden_dim
        self.bag = bag if self.takes_text else None
        if self.takes_text:
            # One projection per text feature: a brand and a title are read differently.
            self.project_text = keras.layers.EinsumDense(
                "nfd,fdw->nfw",
                output_shape=(len(spec.texts), width),
                bias_axes="fw",
                dtype=policy,
                name="project_text",
            )
        if self.takes_images:
            self.project_image = keras.layers.Dense(width, dtype=policy, name="project_image")
        self.project_vector = {
            name: keras.layers.Dense(width, dtype=policy, name=f"project_{name}")
            for name in self.vector_dims
        }
        if config.fusion == "transformer":
            self.transformer = FeatureTransformer(
                width,
                config.num_heads,
                config.num_layers,
                config.intermediate_dim,
                config.dropout,
                dtype=policy,
                name="transformer",
            )
        self.hidden = None
        if config.fusion != "sum":
            self.hidden = keras.layers.Dense(
                config.head_dim, activation="gelu", dtype=policy, name="head_hidden"
            )
        self.title_encoder = title_encoder
        self.head = keras.layers.Dense(
            embedding_dim,
            kernel_initializer="glorot_uniform" if title_encoder is None else "zeros",
            dtype="float32",
            name="head",
        )

    def build(self, *shapes: Any, **named_shapes: Any) -> None:
        width = self.config.hidden_dim
        if self.takes_text:
            assert self.bag is not None
            if not self.bag.built:
                self.bag.build((None,), (None, None))
            self.project_text.build((None, len(self.spec.texts), self.bag.dim))
        if self.takes_images:
            self.project_image.build((None, None, IMAGE_DIM))
        for name, dim in self.vector_dims.items():
            self.project_vector[name].build((None, dim))
        if self.config.fusion == "transformer":
            self.transformer.build((None, None, width), (None, None))
        if self.hidden is not None:
            self.hidden.build((None, width))
        self.head.build((None, width if self.hidden is None else self.config.head_dim))
        self.built = True

    def feature_vectors(self, features: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Projected features `[batch_size, num_features, hidden_dim]` and their bool mask."""
        vectors, masks = [], []
        if self.takes_images:
            num_slots = tf.shape(features["images"])[1]
            vectors.append(self.project_image(features["images"]))
            masks.append(tf.range(num_slots)[None, :] < features["num_images"][:, None])
        if self.takes_text:
            bags = features.get("text_bags")  # [B, F, text_dim]
            if bags is None:
                assert self.bag is not None
                bags = self.bag(features["text_tokens"], features["text_lengths"])
            vectors.append(self.project_text(ops.cast(bags, self.compute_dtype)))
            masks.append(features["text_lengths"] > 0)
        for name in self.vector_dims:
            vectors.append(self.project_vector[name](features["vectors"][name])[:, None, :])
            masks.append(features["vector_present"][name][:, None])
        return ops.concatenate(vectors, axis=1), ops.concatenate(masks, axis=1)

    def feature_names(self, num_slots: int) -> list[str]:
        """Names of what `feature_vectors` has, in its order; images are `image 1`, ...

        Args:
            num_slots: int, image slots of the batch.
        """
        images = [f"image {slot + 1}" for slot in range(num_slots)] if self.takes_images else []
        texts = list(self.spec.texts) if self.takes_text else []
        return [*images, *texts, *self.vector_dims]

    def cls_attention(self, features: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """What the transformer's [CLS] takes of each feature (`FeatureTransformer.cls_attention`).

        Args:
            features: as the tower takes them.

        Returns:
            float32 `[batch_size, 1 + num_features]`, [CLS] itself first, and the features' bool
            mask `[batch_size, num_features]`.

        Raises:
            ValueError: a tower whose fusion is no transformer.
        """
        if self.config.fusion != "transformer":
            raise ValueError(
                "attention is that of a transformer. Received: a tower with "
                f"fusion={self.config.fusion!r}."
            )
        vectors, mask = self.feature_vectors(features)
        return self.transformer.cls_attention(vectors, mask), mask

    def call(self, features: Mapping[str, Any], training: bool = False) -> Tensor:
        vectors, mask = self.feature_vectors(features)
        if self.config.fusion == "transformer":
            fused = self.transformer(vectors, mask, training=training)  # [B, hidden_dim]
        else:
            fused = ops.sum(vectors * ops.cast(mask, vectors.dtype)[:, :, None], axis=1)
        if self.hidden is not None:
            fused = self.hidden(fused)
        embedding = self.head(ops.cast(fused, "float32"))  # [B, embedding_dim]
        if self.title_encoder is not None:
            title = features.get("title_embedding")
            if title is None:
                title = self.title_encoder(features["title"], training=training)
            embedding += title
        return l2_normalise(embedding)
