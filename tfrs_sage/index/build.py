"""Makes an index of a kind by its name, and reads one back from its folder."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_sage.artefacts import read_manifest, require_same
from tfrs_sage.errors import InputError
from tfrs_sage.index.base import FORMAT, IDS_FILE, VECTORS_FILE, Index
from tfrs_sage.index.brute_force import BruteForceIndex
from tfrs_sage.index.checks import as_ids, as_vectors
from tfrs_sage.index.scann_index import ScannIndex

KINDS: dict[str, type[Index]] = {kind.kind: kind for kind in (BruteForceIndex, ScannIndex)}


def build_index(
    vectors: Any,
    ids: Iterable[Any],
    kind: str = "brute_force",
    recall_target: float = 0.95,
    *,
    seed: int = 0,
) -> Index:
    """An index over the candidates.

    Args:
        vectors: float `[n, d]`, kept as float32; n >= 1.
        ids: n texts, each once.
        kind: `brute_force` (exact) or `scann` (approximate).
        recall_target: the least recall at 10 and at 100 neighbours that an approximate
            kind must reach on held-out queries; in (0, 1].
        seed: of the queries that the recall is measured with.

    Raises:
        InputError: an unknown kind, bad vectors or ids, duplicates among the ids (some
            are named), or a recall that is not reached.
        ImportError: the kind's library is not installed.

    Example:
        >>> index = build_index([[1.0, 0.0], [0.0, 1.0]], ["red", "blue"])
        >>> index.search([[0.0, 2.0]], k=1)[0].tolist()
        [['blue']]
    """
    _require_known(kind)
    if not 0 < recall_target <= 1:
        raise InputError(f"`recall_target` must be in (0, 1]. Received: {recall_target!r}.")
    checked = as_vectors(vectors)
    checked_ids = as_ids(ids, len(checked))
    if kind == ScannIndex.kind:
        return ScannIndex.build(checked, checked_ids, recall_target, seed)
    return BruteForceIndex.build(checked, checked_ids)


def load_index(folder: str | Path) -> Index:
    """The index that `Index.save` wrote to `folder`; vectors stay on disk until read.

    Raises:
        InputError: no manifest, another format, an unknown kind, or files that do not
            fit the manifest.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    require_same(folder, manifest, {"format": FORMAT})
    _require_known(manifest.get("kind", ""))
    vectors = np.load(folder / VECTORS_FILE, mmap_mode="r")
    # Split at "\n" alone: an id may hold other characters that str.splitlines breaks at.
    lines = (folder / IDS_FILE).read_bytes().split(b"\n")[:-1]
    found = {"count": len(lines), "dimension": int(vectors.shape[1])}
    require_same(folder, found, {key: manifest[key] for key in found})
    ids = as_ids(lines, len(vectors))
    return KINDS[manifest["kind"]].from_folder(folder, vectors, ids, manifest["report"])


def _require_known(kind: str) -> None:
    if kind not in KINDS:
        raise InputError(
            f"an index is of a known kind: {', '.join(KINDS)}. Received: kind={kind!r}."
        )
