"""The folder of an index: candidates, changes since the build, manifest."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_sage.artefacts import MANIFEST, require_same, whole_folder, write_json
from tfrs_sage.index.attributes import Attributes
from tfrs_sage.index.brute_force import BruteForceSearcher
from tfrs_sage.index.checks import as_ids
from tfrs_sage.index.searcher import FloatArray, Searcher
from tfrs_sage.index.snapshot import Segment, Snapshot

FORMAT = "tfrs-sage index 2"
READ_FORMATS = ("tfrs-sage index 1", FORMAT)  # 1 had neither attributes nor changes
VECTORS_FILE = "vectors.npy"
IDS_FILE = "ids.txt"
ATTRIBUTES_FILE = "attributes.parquet"
DELTA = "delta"
DELETED_FILE = "deleted.npy"
QUERIES_FILE = "queries.npy"


def save_snapshot(
    target: Path, snapshot: Snapshot, queries: FloatArray | None, manifest: Mapping[str, Any]
) -> None:
    """Writes a snapshot and the queries that it is measured with; whole or not at all."""
    with whole_folder(target) as beside:
        _save_segment(beside, snapshot.base)
        if len(snapshot.delta):
            (beside / DELTA).mkdir()
            _save_segment(beside / DELTA, snapshot.delta)
        if snapshot.dead is not None:
            np.save(beside / DELETED_FILE, np.flatnonzero(snapshot.dead))
        if queries is not None:
            np.save(beside / QUERIES_FILE, queries)
        write_json(beside / MANIFEST, manifest)


def load_snapshot(folder: Path, manifest: Mapping[str, Any], kind: type[Searcher]) -> Snapshot:
    """What `save_snapshot` wrote.

    Raises:
        InputError: another format, or files that do not fit the manifest.
    """
    if manifest.get("format") not in READ_FORMATS:
        require_same(folder, manifest, {"format": FORMAT})
    vectors = _vectors(folder)
    require_same(folder, {"dimension": vectors.shape[1]}, {"dimension": manifest["dimension"]})
    snapshot = Snapshot.of(_segment(folder, kind.load(folder, vectors, manifest["report"])))
    if (folder / DELTA).is_dir():
        searcher = BruteForceSearcher(np.asarray(_vectors(folder / DELTA)))
        snapshot = snapshot.with_upserts(_segment(folder / DELTA, searcher))
    if (folder / DELETED_FILE).is_file():
        dead = np.zeros(len(snapshot.base), np.bool_)
        dead[np.load(folder / DELETED_FILE)] = True
        snapshot = Snapshot(snapshot.base, snapshot.delta, dead)
    require_same(folder, {"count": len(snapshot)}, {"count": manifest["count"]})
    return snapshot


def load_queries(folder: Path) -> FloatArray | None:
    """The queries that the index is measured with, where it was given any."""
    file = folder / QUERIES_FILE
    return np.load(file) if file.is_file() else None


def _save_segment(folder: Path, segment: Segment) -> None:
    np.save(folder / VECTORS_FILE, segment.searcher.vectors)
    (folder / IDS_FILE).write_bytes("".join(f"{one}\n" for one in segment.ids).encode())
    segment.searcher.save_assets(folder)
    if segment.attributes.codes:
        segment.attributes.save(folder / ATTRIBUTES_FILE)


def _vectors(folder: Path) -> FloatArray:
    vectors: FloatArray = np.load(folder / VECTORS_FILE, mmap_mode="r")
    return vectors


def _segment(folder: Path, searcher: Searcher) -> Segment:
    # Split at "\n" alone: an id may hold other characters that str.splitlines breaks at.
    lines = (folder / IDS_FILE).read_bytes().split(b"\n")[:-1]
    ids = as_ids(lines, len(searcher))
    file = folder / ATTRIBUTES_FILE
    attributes = (
        Attributes.load(file, len(ids)) if file.is_file() else Attributes.of(None, len(ids))
    )
    return Segment(searcher, ids, attributes)
