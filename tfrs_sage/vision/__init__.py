"""Images to 256-d vectors: keras-hub presets, or a classical descriptor that needs no weights."""

from tfrs_sage.vision.choose import image_encoder
from tfrs_sage.vision.encoder import ImageEncoder
from tfrs_sage.vision.images import ImageError, ImageSource

__all__ = ["ImageEncoder", "ImageError", "ImageSource", "image_encoder"]
