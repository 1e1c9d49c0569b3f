"""From the name of an image encoder to the encoder."""

from tfrs_sage.vision.classical import CLASSICAL, ClassicalEncoder
from tfrs_sage.vision.encoder import ImageEncoder


def image_encoder(name: str) -> ImageEncoder:
    """The encoder of a name.

    Args:
        name: str. `classical` (colour and gradients, no weights), or any keras-hub image preset
            (`resnet_50_imagenet`, `hf://...`), or the folder of a local preset. Weights are
            loaded at the first image.

    Raises:
        ValueError: the name is empty.
    """
    if not name:
        raise ValueError(
            f"an image encoder is {CLASSICAL!r} or a keras-hub preset. Received: {name!r}. "
            "Name one."
        )
    if name == CLASSICAL:
        return ClassicalEncoder()
    # keras-hub is imported only where a preset is asked for.
    from tfrs_sage.vision.pretrained import PretrainedEncoder

    return PretrainedEncoder(name)
