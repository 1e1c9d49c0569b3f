"""The one interface of everything that turns images into 256-d vectors."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tfrs_sage.schema.features import IMAGE_DIM
from tfrs_sage.vision.decode import decode_rgb
from tfrs_sage.vision.images import ImageError


class ImageEncoder(ABC):
    """Images to L2-normalised float32 vectors of width `IMAGE_DIM`; frozen, never trained.

    Attributes:
        name: str. What `image_encoder` was asked for.
        least_side: int or None. Pixels a side that the encoder needs at least; a larger JPEG
            may be decoded smaller.
    """

    name: str
    least_side: int | None = None

    @abstractmethod
    def fingerprint(self) -> str:
        """16 hex digits; equal only where equal images give equal vectors."""

    @abstractmethod
    def encode_pictures(self, pictures: Sequence[Image.Image]) -> NDArray[np.float32]:
        """RGB pictures to L2-normalised float32 `[len(pictures), IMAGE_DIM]`."""

    def encode_each(self, images: Sequence[bytes]) -> list[NDArray[np.float32] | ImageError]:
        """Encodes what can be encoded: one vector `[IMAGE_DIM]` or one ImageError an image.

        The error's `path` is `images[i]`, i being the position in `images`.
        """
        results: list[NDArray[np.float32] | ImageError] = []
        pictures, places = [], []
        for place, image in enumerate(images):
            try:
                pictures.append(decode_rgb(image, self.least_side))
                places.append(place)
                results.append(np.zeros(0, np.float32))  # replaced below
            except ImageError as error:
                results.append(ImageError(f"images[{place}]", error.reason))
        if pictures:
            for place, vector in zip(places, self.encode_pictures(pictures), strict=True):
                results[place] = vector
        return results

    def encode(self, images: Sequence[bytes]) -> NDArray[np.float32]:
        """Encodes images that must all be good.

        Args:
            images: sequence of bytes, each an encoded image file.

        Returns:
            float32 `[len(images), IMAGE_DIM]`, each row of L2 norm 1.

        Raises:
            ImageError: for the first image that cannot be decoded.
        """
        vectors = np.zeros((len(images), IMAGE_DIM), np.float32)
        for place, result in enumerate(self.encode_each(images)):
            if isinstance(result, ImageError):
                raise result
            vectors[place] = result
        return vectors

    def encode_one(self, image: bytes) -> NDArray[np.float32]:
        """One image to float32 `[IMAGE_DIM]`; raises ImageError."""
        vector: NDArray[np.float32] = self.encode([image])[0]
        return vector
