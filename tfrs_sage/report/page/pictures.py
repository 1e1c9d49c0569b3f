"""Product pictures as small WebP images inside the page."""

import base64
import io
import logging
from collections.abc import Collection, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from tfrs_sage.errors import InputError
from tfrs_sage.index.embeddings import ID_COLUMNS
from tfrs_sage.schema.reading import iter_batches, table_files
from tfrs_sage.vision.decode import decode_rgb
from tfrs_sage.vision.images import ImageError, ImageSource

logger = logging.getLogger(__name__)
QUALITY = 72
WHITE = (255, 255, 255)
SPRITE_COLUMNS = 40
TABLES = {"product": "products", "pin": "pins"}


class Pictures:
    """Pictures of products and pins, from the tables that the run was made from.

    Args:
        input: folder of the tables; None, or a folder that is gone, for no pictures.
    """

    def __init__(self, input: str | None) -> None:
        self._input: str | None = None
        self._source: ImageSource | None = None
        try:
            self._tables = table_files(input) if input else {}
        except InputError as error:
            logger.warning("the report has no pictures: %s", error)
            self._tables = {}
        if input and self._tables:
            self._input, self._source = input, ImageSource(input)

    def paths(self, entity: str, ids: Collection[str]) -> dict[str, list[str]]:
        """The image paths of some entities; those without any are left out.

        Args:
            entity: `product` or `pin`.
            ids: of the entities.
        """
        table = TABLES[entity]
        if self._input is None or table not in self._tables:
            return {}
        key, wanted = ID_COLUMNS[table], pa.array(sorted(set(ids)), pa.string())
        found: dict[str, list[str]] = {}
        for _, _, batch in iter_batches(self._input, table):
            if "image_paths" not in batch.schema.names:
                continue
            kept = batch.filter(pc.fill_null(pc.is_in(batch[key], wanted), False))
            for one, paths in zip(
                kept[key].to_pylist(), kept["image_paths"].to_pylist(), strict=True
            ):
                if paths:
                    found[one] = paths
        return found

    def picture(self, path: str, side: int) -> Image.Image | None:
        """One image, at most `side` pixels a side; None, with a warning, where it is broken."""
        if self._source is None:
            return None
        try:
            picture = decode_rgb(self._source.read(path), side)
        except ImageError as error:
            logger.warning("a picture is left out: %s %s", path, error.reason)
            return None
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        return picture

    def thumbnails(self, entity: str, ids: Collection[str], side: int) -> dict[str, str]:
        """Data URI of the first readable picture of each entity that has one."""
        found = {}
        for one, paths in self.paths(entity, ids).items():
            picture = self.first(paths, side)
            if picture is not None:
                found[one] = data_uri(picture)
        return found

    def first(self, paths: Sequence[str], side: int) -> Image.Image | None:
        """The first image that can be read."""
        return next((found for path in paths if (found := self.picture(path, side))), None)


def data_uri(picture: Image.Image) -> str:
    """An image as a WebP data URI."""
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=QUALITY)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


def sprite(pictures: Mapping[str, Image.Image], side: int) -> tuple[Image.Image, dict[str, int]]:
    """Many small pictures as one, in rows of `SPRITE_COLUMNS` squares of `side` pixels.

    One image a page weighs less, and is faster, than a thousand.

    Args:
        pictures: by name, at least one, none larger than `side`.
        side: of a square; a picture stands in its middle, on white.

    Returns:
        The picture, and by name the number of its square, from the left and the top.
    """
    rows = -(-len(pictures) // SPRITE_COLUMNS)
    columns = min(len(pictures), SPRITE_COLUMNS)
    sheet = Image.new("RGB", (columns * side, rows * side), WHITE)
    for number, picture in enumerate(pictures.values()):
        left = number % SPRITE_COLUMNS * side + (side - picture.width) // 2
        top = number // SPRITE_COLUMNS * side + (side - picture.height) // 2
        sheet.paste(picture, (left, top))
    return sheet, {name: number for number, name in enumerate(pictures)}
