"""A run's products as the page shows them: titles and fields from the tables, small pictures."""

import io
import threading
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from tfrs_sage.errors import InputError
from tfrs_sage.lru_cache import LruCache
from tfrs_sage.schema.features import PRODUCT_TEXTS
from tfrs_sage.schema.reading import iter_batches
from tfrs_sage.vision.decode import decode_rgb
from tfrs_sage.vision.images import ImageError, ImageSource

PICTURE_SIDE = 512  # pixels of the longer side, at most
_PICTURES_BYTES = 1 << 26  # of small pictures that are kept in memory
_PICTURE_AGE_S = 3600.0
_MAX_TEXT = 1000  # characters of a field that are shown
_SCHEMA = pa.schema(
    [
        ("product_id", pa.string()),
        *((name, pa.string()) for name in PRODUCT_TEXTS),
        ("image_paths", pa.list_(pa.string())),
    ]
)


class Catalogue:
    """The products of a folder of tables; for all threads.

    The table is read when it is first asked for, and kept: texts and paths, no vectors.

    Args:
        folder: of the tables and pictures (files, or a `*.tar`), local or remote.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._products: pa.Table | None = None
        self._images = ImageSource(folder)
        self._pictures: LruCache[str, bytes] = LruCache(
            _PICTURES_BYTES, _PICTURE_AGE_S, lambda picture: len(picture) + 200
        )

    def __len__(self) -> int:
        return int(self._table().num_rows)

    def products(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What is known of products.

        Returns:
            By id, where there is such a product: `title` (None where it has none), `fields` (the
            other texts that it has, by name) and `picture` (whether it names one).

        Raises:
            InputError: the tables cannot be read.
        """
        return {row["product_id"]: _shown(row) for row in self._rows(ids)}

    def picture(self, product_id: str) -> bytes | None:
        """The first picture of a product as a JPEG of at most `PICTURE_SIDE` pixels a side.

        Returns:
            None where there is no such product, or it has no picture that can be read.

        Raises:
            InputError: the tables cannot be read.
        """
        found = self._pictures.get_many([product_id])
        if product_id in found:
            return found[product_id]
        paths = [path for row in self._rows([product_id]) for path in row["image_paths"] or ()]
        if not paths:
            return None
        try:
            picture = _small(self._images.read(paths[0]))
        except ImageError:
            return None
        self._pictures.put(product_id, picture)
        return picture

    def _rows(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        table = self._table()
        place = pc.index_in(table["product_id"], value_set=pa.array(ids, pa.string()))
        rows: list[dict[str, Any]] = table.filter(place.is_valid()).to_pylist()
        return rows

    def _table(self) -> pa.Table:
        with self._lock:
            if self._products is None:
                batches = (batch for _, _, batch in iter_batches(self._folder, "products"))
                try:
                    self._products = pa.Table.from_batches(map(_known_columns, batches), _SCHEMA)
                except (OSError, pa.ArrowException) as error:
                    raise InputError(
                        f"The run's tables must be readable in {self._folder}. Found: {error}."
                    ) from error
            return self._products


def _known_columns(batch: pa.RecordBatch) -> pa.RecordBatch:
    arrays = [
        batch.column(column.name).cast(column.type)
        if column.name in batch.schema.names
        else pa.nulls(batch.num_rows, column.type)
        for column in _SCHEMA
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA)


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    fields = {name: row[name][:_MAX_TEXT] for name in PRODUCT_TEXTS if row[name]}
    return {
        "title": fields.pop("title", None),
        "fields": fields,
        "picture": bool(row["image_paths"]),
    }


def _small(image: bytes) -> bytes:
    picture = decode_rgb(image, least_side=PICTURE_SIDE)
    picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file.getvalue()
