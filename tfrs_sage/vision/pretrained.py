"""A frozen keras-hub image backbone as an image encoder: pooled, projected to 256-d."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tfrs_sage.artefacts import fingerprint
from tfrs_sage.errors import InputError
from tfrs_sage.schema.features import IMAGE_DIM
from tfrs_sage.vision.encoder import ImageEncoder

PROJECTION_SEED = 256


class PretrainedEncoder(ImageEncoder):
    """Pooled features of a frozen backbone, through a seeded Gaussian projection.

    The projection keeps angles nearly as they are (Johnson and Lindenstrauss; Dasgupta and
    Gupta, "An elementary proof of a theorem of Johnson and Lindenstrauss", 2003) and needs no
    training, so that a backbone of any width gives vectors of `IMAGE_DIM`. Weights are loaded
    at the first image or fingerprint; pickling carries the name only.

    Args:
        name: str. A keras-hub preset with an image converter: a built-in name, a `kaggle://` or
            `hf://` handle, or a local folder that `save_to_preset` wrote.
        batch_size: int. Images a forward pass.

    Example:
        `PretrainedEncoder("resnet_50_imagenet").encode([jpeg_bytes])` -> float32 `[1, 256]`.
    """

    def __init__(self, name: str, batch_size: int = 32) -> None:
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be a positive int. Received: {batch_size}.")
        self.name = name
        self.batch_size = batch_size

    def __reduce__(self) -> tuple[Any, ...]:
        return (PretrainedEncoder, (self.name, self.batch_size))

    def fingerprint(self) -> str:
        """See `ImageEncoder.fingerprint`; depends on the weights, not on the preset's name."""
        backbone, converter = self._loaded
        digest = hashlib.sha256()
        for weight in backbone.get_weights():
            digest.update(np.ascontiguousarray(weight).tobytes())
        return fingerprint(
            {
                "backbone": type(backbone).__name__,
                "weights": digest.hexdigest(),
                "image_size": converter.image_size,
                "scale": converter.scale,
                "offset": converter.offset,
                "projection_seed": PROJECTION_SEED,
                "dimension": IMAGE_DIM,
            }
        )

    def encode_pictures(self, pictures: Sequence[Image.Image]) -> NDArray[np.float32]:
        """See `ImageEncoder.encode_pictures`."""
        _, converter = self._loaded
        vectors = []
        for start in range(0, len(pictures), self.batch_size):
            batch = pictures[start : start + self.batch_size]
            # Pictures differ in size: each is converted by itself, then they fit one batch.
            pixels = np.concatenate(
                [np.asarray(converter(np.asarray(picture)[None])) for picture in batch]
            )  # [B, H, W, 3]
            features = self._pooled(pixels)  # [B, F]
            vectors.append(features @ _projection(features.shape[1]))  # [B, 256]
        projected = np.concatenate(vectors)
        norms = np.linalg.norm(projected, axis=1, keepdims=True)
        return (projected / np.maximum(norms, 1e-12)).astype(np.float32)

    def _pooled(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """The backbone's features, averaged over places or patches: float32 `[B, F]`."""
        backbone, _ = self._loaded
        if hasattr(backbone, "get_vision_embeddings"):  # CLIP and its kin: the image half only
            output = backbone.get_vision_embeddings(pixels)
        else:
            output = backbone(pixels, training=False)
        if isinstance(output, dict) or len(output.shape) not in (2, 3, 4):
            raise InputError(
                f"an image encoder must give one feature map, [n, h, w, c], [n, patches, c] or "
                f"[n, c]. Found: {self.name} gives {type(output).__name__}. Name an image "
                "classification preset."
            )
        features = np.asarray(output, np.float32)
        return features.reshape(features.shape[0], -1, features.shape[-1]).mean(axis=1)

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        """The backbone, frozen, and its image converter."""
        import keras
        import keras_hub

        try:
            converter = keras_hub.layers.ImageConverter.from_preset(self.name)
            backbone = keras_hub.models.Backbone.from_preset(self.name)
        except (ValueError, OSError) as error:
            raise InputError(
                "`image_encoder` must be 'classical' or a keras-hub preset with an image "
                f"converter. Found: {self.name!r}, which keras-hub cannot load ({error})."
            ) from error
        if converter.image_size is None or keras.config.image_data_format() != "channels_last":
            raise InputError(
                "an image preset must resize to one size, channels last. Found: "
                f"{self.name!r} with image_size={converter.image_size} and "
                f"{keras.config.image_data_format()}. Set image_size in its image_converter.json, "
                "and channels_last in the Keras configuration."
            )
        backbone.trainable = False
        return backbone, converter


def _projection(num_features: int) -> NDArray[np.float32]:
    """Gaussian matrix `[num_features, 256]` of variance 1/256, the same on every machine."""
    random = np.random.Generator(np.random.PCG64(PROJECTION_SEED))
    matrix = random.standard_normal((num_features, IMAGE_DIM), np.float32)
    return matrix / np.float32(np.sqrt(IMAGE_DIM))
