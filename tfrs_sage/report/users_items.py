"""What a picture shows of an item: its title, and its first image where there is one."""

import logging
import textwrap
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from tfrs_sage.schema.reading import iter_batches
from tfrs_sage.vision.decode import decode_rgb
from tfrs_sage.vision.images import ImageError, ImageSource

logger = logging.getLogger(__name__)
Pixels = np.ndarray  # uint8 [height, width, 3]
LARGEST_SIDE = 256  # of an image that is held: it is printed an inch or so wide

# Okabe and Ito's colours, which people with any kind of colour vision tell apart; yellow, too pale
# on white, is left out. Shapes say the same again, also in black and white. Seven and eight have
# no common divisor: the first 56 clusters are all different.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


@dataclass(frozen=True, eq=False)
class Item:
    """One product.

    Attributes:
        title: its title; its id where it has none.
        pixels: its first image that can be read, uint8 `[height, width, 3]`; None without one.
    """

    title: str
    pixels: Pixels | None = None

    def short_title(self, width: int, lines: int) -> str:
        """The title in lines of at most `width` characters, cut off with dots."""
        return textwrap.fill(
            self.title, width, max_lines=lines, placeholder="...", break_long_words=True
        )


def read_items(input: str, wanted: Collection[str]) -> dict[str, Item]:
    """Title and image of some products, from the tables.

    Args:
        input: folder of the tables; images are files in it or members of its `*.tar`.
        wanted: ids of products; those that the tables lack get their id as title.
    """
    source = ImageSource(input)
    ids = pa.array(sorted(set(wanted)), pa.string())
    items = {str(one): Item(str(one)) for one in ids}
    for _, _, batch in iter_batches(input, "products"):
        for row in batch.filter(
            pc.fill_null(pc.is_in(batch["product_id"], ids), False)
        ).to_pylist():
            name = row["product_id"]
            pixels = _first_image(source, row.get("image_paths") or [])
            items[name] = Item(row.get("title") or name, pixels)
    return items


def _first_image(source: ImageSource, paths: list[str]) -> Pixels | None:
    for path in paths:
        try:
            picture = decode_rgb(source.read(path), LARGEST_SIDE)
        except ImageError as error:
            logger.warning("an image is left out: %s", error)
            continue
        picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS)
        return np.asarray(picture)
    return None
