"""Reads the embedding files that the Beam job writes."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tfrs_sage.artefacts import read_manifest, require_same
from tfrs_sage.errors import InputError


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
