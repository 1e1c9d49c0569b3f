"""SQID: the products of ESCI's English test queries with CLIP vectors of their pictures."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfrs_sage.datasets.public import esci
from tfrs_sage.datasets.public.source import ENGAGEMENTS, JUDGMENTS, PublicSet
from tfrs_sage.datasets.writing import row_batches, write_table
from tfrs_sage.errors import InputError

FEATURES = "product_features.parquet"
KINDS = ("image", "text")  # of the vectors, as a part of their columns' names
BATCH_ROWS = 1024


def write_sqid(folder: Path, place: Path, options: Mapping[str, Any]) -> dict[str, int]:
    """Writes the products that have vectors, with ESCI's texts, engagements and judgments.

    The vectors become the columns `clip_image_embedding` and `clip_text_embedding`; a product
    without a picture has no image vector. The reduced version of ESCI in `us`, as SQID has it.

    Args:
        folder: holds ESCI's two files and `FEATURES`.
        place: folder of the tables.
        options: none.
    """
    with tempfile.TemporaryDirectory(dir=place) as scratch:
        vectors = _Vectors(folder / FEATURES, Path(scratch))
        fields = [pa.field(f"clip_{kind}_embedding", pa.list_(pa.float32())) for kind in KINDS]
        schema = pa.schema([*esci.PRODUCT_SCHEMA, *fields])
        known: set[str] = set()

        def rows() -> Iterator[dict[str, Any]]:
            for row in esci.product_rows(folder, "us"):
                if row["product_id"] in vectors.rows:
                    known.add(row["product_id"])
                    yield {**row, **vectors.of(row["product_id"])}

        counts = {
            "products": write_table(place / "products.parquet", schema, row_batches(rows(), schema))
        }
    for name, table_schema, table in (
        ("engagements", ENGAGEMENTS, esci.engagement_rows),
        ("judgments", JUDGMENTS, esci.judgment_rows),
    ):
        one = table(r for r in esci.examples(folder, "us", True) if r["product_id"] in known)
        batches = row_batches(one, table_schema)
        counts[name] = write_table(place / f"{name}.parquet", table_schema, batches)
    return counts


class _Vectors:
    """The vectors by product, on disk: there are 190,000 times two of 768 numbers.

    Args:
        path: `FEATURES`.
        scratch: folder for two files of them.
    """

    def __init__(self, path: Path, scratch: Path) -> None:
        file = pq.ParquetFile(path)
        columns = {kind: _column(path, file.schema_arrow, kind) for kind in KINDS}
        self.rows: dict[str, int] = {}
        self._files: dict[str, np.ndarray] = {}
        self._absent: dict[str, set[int]] = {kind: set() for kind in KINDS}
        self._count = file.metadata.num_rows
        start = 0
        for batch in file.iter_batches(BATCH_ROWS, columns=["product_id", *columns.values()]):
            ids = batch.column("product_id").to_pylist()
            self.rows.update((one, start + row) for row, one in enumerate(ids))
            for kind, column in columns.items():
                self._keep(kind, batch.column(column).to_pylist(), start, scratch)
            start += len(ids)

    def _keep(self, kind: str, values: list[list[float] | None], start: int, scratch: Path) -> None:
        for row, value in enumerate(values, start):
            if value is None or not np.any(value):
                self._absent[kind].add(row)
                continue
            if kind not in self._files:
                shape = (self._count, len(value))
                self._files[kind] = np.lib.format.open_memmap(
                    scratch / f"{kind}.npy", "w+", np.float32, shape
                )
            self._files[kind][row] = value

    def of(self, product: str) -> dict[str, Any]:
        row = self.rows[product]
        return {
            f"clip_{kind}_embedding": None
            if row in self._absent[kind]
            else self._files[kind][row].tolist()
            for kind in KINDS
        }


def _column(path: Path, schema: pa.Schema, kind: str) -> str:
    """The list column whose name has the kind in it."""
    found = [
        field.name
        for field in schema
        if kind in field.name
        and (pa.types.is_list(field.type) or pa.types.is_large_list(field.type))
    ]
    if len(found) != 1 or "product_id" not in schema.names:
        raise InputError(
            f"{path} must have product_id and one column of lists for the {kind} vectors. Found: "
            + ", ".join(f"{field.name} ({field.type})" for field in schema)
        )
    return found[0]


SQID = PublicSet(
    name="sqid",
    title="Shopping Queries Image Dataset (SQID)",
    homepage="https://github.com/Crossing-Minds/shopping-queries-image-dataset",
    licence="MIT (the texts are ESCI's: Apache-2.0)",
    citation=(
        "Al Ghossein, Chen and Tang, Shopping Queries Image Dataset (SQID), arXiv 2405.15190 "
        f"(2024); and {esci.CITATION}"
    ),
    files={
        FEATURES: "CLIP vectors, from the folder sqid",
        **{name: f"of ESCI ({esci.ESCI.homepage})" for name in esci.FILES},
    },
    write=write_sqid,
    downloads={
        FEATURES: "https://github.com/Crossing-Minds/shopping-queries-image-dataset/raw/main/sqid/"
        + FEATURES,
        **esci.ESCI.downloads,
    },
)
