"""Reads what an index is built from: embedding files and columns of the input tables."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tfrs_sage.artefacts import read_manifest, require_same
from tfrs_sage.errors import InputError
from tfrs_sage.schema.reading import iter_batches
from tfrs_sage.schema.tables import TABLES, Kind

ID_COLUMNS = {"products": "product_id", "pins": "pin_id"}


def read_embeddings(folder: str | Path) -> tuple[NDArray[np.object_], NDArray[np.float32]]:
    """Ids and vectors of one entity, in ascending order of the id.

    The order of the files depends on how Beam bundled the records; sorting makes what is
    built from them the same on every run.

    Args:
        folder: `RUN/embeddings/<entity>`: `part-*.parquet` with the columns `id` (string)
            and `embedding` (fixed-size list of float32), and a manifest.

    Returns:
        ids: object `[n]` of `str`.
        vectors: float32 `[n, d]`.

    Raises:
        InputError: no manifest, or the files do not hold what it says.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    ids: list[str] = []
    parts: list[NDArray[np.float32]] = []
    for path in sorted(folder.glob("part-*.parquet")):
        table = pq.read_table(path, columns=["id", "embedding"]).combine_chunks()
        ids.extend(table.column("id").to_pylist())
        for chunk in table.column("embedding").chunks:
            parts.append(chunk.flatten().to_numpy().reshape(len(chunk), -1))
    if not ids:
        raise InputError(
            f"{folder} must hold part-*.parquet files with embeddings. Found: none. "
            "Run the embed step again."
        )
    vectors = np.concatenate(parts).astype(np.float32, copy=False)
    found = {"count": len(ids), "dimension": int(vectors.shape[1])}
    require_same(folder, found, {key: manifest.get(key) for key in found})
    names = np.empty(len(ids), dtype=object)
    names[:] = ids
    order = np.argsort(names, kind="stable")
    return names[order], vectors[order]


def read_attributes(
    tables: str, table: str, columns: Sequence[str], ids: Iterable[str]
) -> dict[str, list[str | None]]:
    """The words of some candidates in columns of their table, to filter by.

    Args:
        tables: folder of the input tables.
        table: `products` or `pins`.
        columns: names of its text columns.
        ids: of the candidates, in the order of the answer.

    Raises:
        InputError: a column that the table does not have, or that does not hold texts.
    """
    spec = TABLES[table]
    for name in columns:
        column = spec.column(name)
        if column is None or column.kind is not Kind.TEXT:
            texts = [one for one, known in spec.columns.items() if known.kind is Kind.TEXT]
            raise InputError(
                f"`index.attributes` names text columns of {table}: {', '.join(texts)}. "
                f"Received: {name!r}."
            )
    words: dict[str, list[str | None]] = {}
    for _, _, batch in iter_batches(tables, table):
        found = [
            batch.column(name).to_pylist() if name in batch.schema.names else [None] * len(batch)
            for name in columns
        ]
        key = batch.column(ID_COLUMNS[table]).to_pylist()
        words |= {one: list(row) for one, *row in zip(key, *found, strict=True)}
    absent: list[str | None] = [None] * len(columns)
    rows = [words.get(one, absent) for one in ids]
    return {name: [row[place] for row in rows] for place, name in enumerate(columns)}
