"""The item embeddings as a table that every worker maps into memory, and none loads.

A million vectors of 256 floats are 1 GB. Workers of one machine share the pages of the mapped
files, read only the rows that they need, and nothing but row numbers travels between the steps;
a join by key would send a vector along with every action of every user.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tfrs_sage.artefacts import MANIFEST, fingerprint, read_manifest, whole_folder, write_json
from tfrs_sage.errors import InputError

_VECTORS, _IDS, _KEYS, _ROWS = "vectors.npy", "ids.arrow", "keys.npy", "rows.npy"
UNKNOWN = -1  # the row of an id that is not in the table


class VectorTable:
    """Ids and vectors by row, in ascending order of the id, read where they lie.

    Args:
        folder: as `vector_table` gives it. The files stay readable when the folder is replaced.

    Attributes:
        vectors: float32 `[n, d]`, mapped.
    """

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        manifest = read_manifest(folder)
        self._seed: int = manifest["seed"]
        self.vectors: NDArray[np.float32] = np.load(folder / _VECTORS, mmap_mode="r")
        self._keys: NDArray[np.uint64] = np.load(folder / _KEYS, mmap_mode="r")
        self._rows: NDArray[np.int32] = np.load(folder / _ROWS, mmap_mode="r")
        with pa.ipc.open_file(pa.memory_map(str(folder / _IDS))) as reader:
            self._ids = reader.get_batch(0).column("id")

    def rows_of(self, ids: Sequence[str] | pa.Array) -> NDArray[np.int32]:
        """The row of each id, int32 `[m]`; `UNKNOWN` where it is not in the table."""
        texts = ids.to_pylist() if isinstance(ids, pa.Array) else list(ids)
        keys = _keys_of(texts, self._seed)
        near = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        rows = self._rows[near]
        # A hash may be that of another id.
        same = [one == text for one, text in zip(self.ids_of(rows), texts, strict=True)]
        return np.where(same, rows, np.int32(UNKNOWN)).astype(np.int32)

    def ids_of(self, rows: NDArray[np.integer]) -> list[str]:
        """The id of each row."""
        found: list[str] = self._ids.take(pa.array(rows)).to_pylist()
        return found

    def vector_of(self, item_id: str) -> NDArray[np.float32] | None:
        """The embedding of one item, float32 `[d]`; None where it has none."""
        (row,) = self.rows_of([item_id])
        return None if row == UNKNOWN else self.vectors[row]


def vector_table(run_dir: str | Path, entity: str = "product") -> Path:
    """The folder `RUN/users/vectors`, made anew where the embeddings are others than its own.

    Ids are held in memory here, 100 bytes each or so; vectors pass through.

    Args:
        run_dir: run folder with `embeddings/<entity>`.
        entity: whose embeddings.

    Raises:
        InputError: no embeddings, or not as many as their manifest says.
    """
    source = Path(run_dir) / "embeddings" / entity
    folder = Path(run_dir) / "users" / "vectors"
    manifest = read_manifest(source)
    parts = sorted(source.glob("part-*.parquet"))
    files = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in parts]
    made_from = fingerprint([entity, manifest, files])
    if (folder / MANIFEST).is_file() and read_manifest(folder)["made_from"] == made_from:
        return folder
    ids = [
        one
        for path in parts
        for one in pq.read_table(path, columns=["id"]).column("id").to_pylist()
    ]
    if not ids or len(ids) != manifest["count"] or len(set(ids)) != len(ids):
        raise InputError(
            f"{source} must hold the {manifest['count']} embeddings of its manifest, each id "
            f"once. Found: {len(ids)} rows of {len(set(ids))} ids. Run the embed step again."
        )
    with whole_folder(folder) as beside:
        order = np.array(sorted(range(len(ids)), key=ids.__getitem__))
        _write_vectors(beside / _VECTORS, parts, order, manifest["dimension"])
        seed = _write_ids(beside, [ids[row] for row in order])
        about = {"entity": entity, "made_from": made_from, "seed": seed}
        sizes = {key: manifest[key] for key in ("count", "dimension")}
        write_json(beside / MANIFEST, {**about, **sizes})
    return folder


def _write_vectors(path: Path, parts: Sequence[Path], order: NDArray[Any], dimension: int) -> None:
    """The vectors in this order, written where they belong as they are read."""
    shape = (len(order), dimension)
    target = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    start = 0
    for part in parts:
        for batch in pq.ParquetFile(part).iter_batches(65_536, columns=["embedding"]):
            vectors = batch.column(0).flatten().to_numpy().reshape(len(batch), -1)
            target[place[start : start + len(batch)]] = vectors
            start += len(batch)
    target.flush()


def _write_ids(folder: Path, ids: list[str]) -> int:
    """The ids by row, and the rows by hash of the id; returns the hash's seed."""
    table = pa.record_batch({"id": pa.array(ids, pa.large_string())})
    with pa.ipc.new_file(str(folder / _IDS), table.schema) as writer:
        writer.write_batch(table)
    seed = 0
    keys = _keys_of(ids, seed)
    while len(np.unique(keys)) < len(ids):  # two ids of one hash: 1 in 10^7 for a million ids
        seed += 1
        keys = _keys_of(ids, seed)
    rows = np.argsort(keys)
    np.save(folder / _KEYS, keys[rows])
    np.save(folder / _ROWS, rows.astype(np.int32))
    return seed


def _keys_of(ids: Sequence[str], seed: int) -> NDArray[np.uint64]:
    """A 64-bit hash of each id."""
    salt = seed.to_bytes(8, "little")
    digests = (hashlib.blake2b(one.encode(), digest_size=8, salt=salt).digest() for one in ids)
    return np.frombuffer(b"".join(digests), "<u8")
