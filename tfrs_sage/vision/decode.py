"""Bytes to an upright RGB picture, or an ImageError that says why not."""

import io
import struct

from PIL import Image, ImageOps, UnidentifiedImageError

from tfrs_sage.vision.images import ImageError

WHITE = (255, 255, 255)


def decode_rgb(image: bytes, least_side: int | None = None) -> Image.Image:
    """Decodes any format that Pillow reads: turned upright, transparency laid over white.

    Args:
        image: bytes. The encoded file; of an animation the first frame is taken.
        least_side: int or None. A JPEG larger than this may be decoded at a half, a quarter or
            an eighth of its size, but not below `least_side` pixels a side. None: full size.

    Returns:
        A loaded `PIL.Image.Image` of mode `RGB`.

    Raises:
        ImageError: the bytes are no image, are cut off, or would unpack to an absurd size.
    """
    try:
        picture: Image.Image = Image.open(io.BytesIO(image))
        if least_side is not None:
            picture.draft("RGB", (least_side, least_side))
        picture = ImageOps.exif_transpose(picture)
        if picture.mode == "RGB":
            picture.load()
            return picture
        if "transparency" in picture.info or picture.mode in ("RGBA", "LA", "PA"):
            # A shop shows cut-outs on a white page: transparent must mean white, not black.
            layer = picture.convert("RGBA")
            ground = Image.new("RGBA", layer.size, (*WHITE, 255))
            return Image.alpha_composite(ground, layer).convert("RGB")
        return picture.convert("RGB")
    except UnidentifiedImageError as error:
        start = image[:8].hex(" ") or "nothing"
        raise ImageError("", f"is not an image ({len(image)} bytes, starting {start})") from error
    except Image.DecompressionBombError as error:
        raise ImageError("", f"is too large an image ({error})") from error
    except (OSError, SyntaxError, ValueError, IndexError, struct.error) as error:
        # What Pillow's format readers raise on damaged files.
        raise ImageError("", f"is damaged or cut off ({error})") from error
