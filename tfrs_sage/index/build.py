"""Makes an index of a kind by its name, and reads one back from its folder."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfrs_sage.artefacts import read_manifest
from tfrs_sage.errors import InputError
from tfrs_sage.index.attributes import Attributes
from tfrs_sage.index.base import Index
from tfrs_sage.index.brute_force import BruteForceSearcher
from tfrs_sage.index.checks import as_ids, as_queries, as_vectors
from tfrs_sage.index.files import load_queries, load_snapshot
from tfrs_sage.index.scann_index import BRUTE_FORCE_BELOW, ScannSearcher
from tfrs_sage.index.searcher import Searcher
from tfrs_sage.index.snapshot import Segment, Snapshot

AUTO = "auto"


def _partitioned() -> type[Searcher]:
    from tfrs_sage.index.partitioned import PartitionedSearcher  # imports TensorFlow

    return PartitionedSearcher


_SEARCHERS: dict[str, Any] = {
    "brute_force": lambda: BruteForceSearcher,
    "scann": lambda: ScannSearcher,
    "partitioned": _partitioned,
}
KINDS = tuple(_SEARCHERS)


def build_index(
    vectors: Any,
    ids: Iterable[Any],
    kind: str = "brute_force",
    recall_target: float = 0.95,
    *,
    seed: int = 0,
    attributes: Mapping[str, Sequence[str | None]] | None = None,
    queries: Any = None,
) -> Index:
    """An index over the candidates.

    Args:
        vectors: float `[n, d]`, kept as float32; n >= 1.
        ids: n texts, each once.
        kind: `brute_force` (exact), `scann` (approximate, where ScaNN is installed) or
            `partitioned` (approximate, wherever TensorFlow runs); or `auto`, which is
            `brute_force` below 20,000 candidates and `partitioned` from there on.
        recall_target: the least recall at 10 and at 100 neighbours that an approximate
            kind must reach on held-out queries; in (0, 1].
        seed: of the queries that the recall is measured with, and of the leaves.
        attributes: columns to filter by, each with one word or None a candidate.
        queries: float `[num_queries, d]`, such as users' texts, that the recall is measured with
            beside queries that lie near candidates.

    Raises:
        InputError: an unknown kind, bad vectors or ids, duplicates among the ids (some
            are named), an attribute of another length, or a recall that is not reached.
        ImportError: the kind's library is not installed.

    Example:
        >>> index = build_index([[1.0, 0.0], [0.0, 1.0]], ["red", "blue"])
        >>> index.search([[0.0, 2.0]], k=1)[0].tolist()
        [['blue']]
    """
    if not 0 < recall_target <= 1:
        raise InputError(f"`recall_target` must be in (0, 1]. Received: {recall_target!r}.")
    if kind != AUTO:
        _require_known(kind)
    checked = as_vectors(vectors)
    names = as_ids(ids, len(checked))
    words = Attributes.of(attributes, len(checked))
    if kind == AUTO:
        kind = "brute_force" if len(checked) < BRUTE_FORCE_BELOW else "partitioned"
    asked = None if queries is None else as_queries(queries, checked.shape[1])
    searcher, report = _SEARCHERS[kind]().build(checked, recall_target, seed, asked)
    return Index(Snapshot.of(Segment(searcher, names, words)), report, asked, seed=seed)


def load_index(folder: str | Path) -> Index:
    """The index that `Index.save` wrote to `folder`; vectors stay on disk until read.

    Raises:
        InputError: no manifest, another format, an unknown kind, or files that do not
            fit the manifest.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    kind = manifest.get("kind", "")
    _require_known(kind)
    snapshot = load_snapshot(folder, manifest, _SEARCHERS[kind]())
    return Index(snapshot, manifest["report"], load_queries(folder))


def _require_known(kind: str) -> None:
    if kind not in KINDS:
        raise InputError(
            f"an index is of a known kind: {', '.join(KINDS)}. Received: kind={kind!r}."
        )
