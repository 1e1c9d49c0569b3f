"""The one interface of every index: search, change, save."""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfrs_sage.errors import InputError
from tfrs_sage.index.attributes import Attributes, Where
from tfrs_sage.index.brute_force import BruteForceSearcher
from tfrs_sage.index.checks import as_ids, as_queries, as_vectors
from tfrs_sage.index.files import FORMAT, VECTORS_FILE, save_snapshot
from tfrs_sage.index.searcher import FloatArray, IdArray, Searcher
from tfrs_sage.index.snapshot import Filter, Segment, Snapshot

__all__ = ["FORMAT", "VECTORS_FILE", "Index"]
logger = logging.getLogger(__name__)

Change = Callable[[Snapshot], Snapshot]


class Index:
    """Candidates with their ids, searched by dot product, that may change while it is searched.

    What was built is never changed: upserts go into a delta that is searched exactly, deletions
    become tombstones, and a search goes over both as one. Once there are many changes
    (`compact_above`) the whole is built anew in a thread of its own and swapped in at once.

    Every call may come from any thread. A search sees the index as it was when it began: what a
    `delete` that has returned removed is never found, what an `upsert` that has returned put in
    always may be.

    Attributes:
        report: what the build measured (recall, queries per second, parameters); goes into the
            manifest.
        compact_above: changes that the index takes before it is compacted; None for never.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        report: Mapping[str, Any],
        queries: FloatArray | None = None,
        *,
        seed: int = 0,
    ) -> None:
        self.report = dict(report)
        self.compact_above: int | None = max(1000, len(snapshot) // 20)
        self._seed, self._queries = seed, queries
        self._snapshot = snapshot
        self._lock = threading.Lock()  # of whoever writes one of these three
        self._since: list[Change] | None = None  # changes during a compaction
        self._background: threading.Thread | None = None
        self._compacting = threading.Lock()  # one at a time

    # === What it is ===

    @property
    def kind(self) -> str:
        return self.searcher.kind

    @property
    def is_exact(self) -> bool:
        return self.searcher.is_exact

    @property
    def searcher(self) -> Searcher:
        """What searches the candidates that the index was built, or last compacted, from."""
        return self._snapshot.base.searcher

    @property
    def is_changed(self) -> bool:
        """Whether there are changes that the searcher does not know of yet."""
        return bool(self._snapshot.num_changes)

    @property
    def dimension(self) -> int:
        return int(self.searcher.vectors.shape[1])

    @property
    def vectors(self) -> FloatArray:
        """float32 `[n, d]`, one candidate a row; a copy where the index was changed."""
        return self._snapshot.live.searcher.vectors

    @property
    def ids(self) -> IdArray:
        """object `[n]`, the candidates' ids as `str`, each once."""
        return self._snapshot.live.ids

    def __len__(self) -> int:
        return len(self._snapshot)

    # === Search ===

    def search(
        self,
        queries: Any,
        k: int,
        allow: Iterable[str] | None = None,
        deny: Iterable[str] = (),
        where: Where | None = None,
    ) -> tuple[IdArray, FloatArray]:
        """The `k` candidates of each query with the largest dot products.

        Args:
            queries: float `[num_queries, d]`; finite.
            k: int >= 1; where it is larger than the number of candidates that pass the filters,
                so many columns are returned.
            allow: ids that may be returned; None for all. Ids that are not in the index are
                passed over.
            deny: ids that may not be returned.
            where: attributes and the word, or one of the words, that a candidate must have in
                each: `{"color": "red", "brand": ["Ikea", "Hay"]}`.

        Returns:
            ids: object `[num_queries, min(k, n)]` of `str`, best first; n candidates pass.
            scores: float32 `[num_queries, min(k, n)]`, the dot products.

        Raises:
            ValueError: the queries have another width, or `k` is not positive.
            InputError: the index has no attribute of a name in `where`.

        Example:
            >>> from tfrs_sage.index import build_index
            >>> index = build_index(
            ...     [[1.0, 0.0], [0.0, 1.0]], ["a", "b"], attributes={"color": ["red", "blue"]}
            ... )
            >>> index.search([[0.0, 2.0]], k=1, where={"color": "red"})[0].tolist()
            [['a']]
        """
        snapshot = self._snapshot
        allowed = None if allow is None else frozenset(allow)
        asked = Filter(allowed, frozenset(deny), where)
        slots, scores = self._search(snapshot, queries, k, asked)
        return snapshot.ids_of(slots), scores

    def search_rows(self, queries: Any, k: int) -> tuple[NDArray[np.int64], FloatArray]:
        """As `search`, with rows of `ids` and `vectors`, which hold until the next change."""
        snapshot = self._snapshot
        slots, scores = self._search(snapshot, queries, k, Filter())
        return snapshot.rows_of(slots), scores

    def _search(
        self, snapshot: Snapshot, queries: Any, k: int, asked: Filter
    ) -> tuple[NDArray[np.int64], FloatArray]:
        checked = as_queries(queries, self.dimension)
        if isinstance(k, bool) or int(k) != k or k < 1:
            raise ValueError(f"`k` must be a positive int. Received: k={k!r}.")
        return snapshot.search(checked, int(k), asked)

    # === Change ===

    def upsert(
        self,
        vectors: Any,
        ids: Iterable[Any],
        attributes: Mapping[str, Sequence[str | None]] | None = None,
    ) -> None:
        """Puts candidates in, in place of those with the same ids.

        Args:
            vectors: float `[m, d]`; finite.
            ids: m texts, each once.
            attributes: as in `build_index`, of columns that the index has; a candidate has none
                in those that are left out.

        Raises:
            InputError: bad vectors or ids, another width, an unknown attribute.
        """
        checked = as_vectors(vectors)
        if checked.shape[1] != self.dimension:
            raise InputError(
                f"`vectors` must have the shape [m, {self.dimension}] of this index. "
                f"Received: shape {list(checked.shape)}."
            )
        names = as_ids(ids, len(checked))
        new = Segment(BruteForceSearcher(checked), names, Attributes.of(attributes, len(checked)))
        self._change(lambda snapshot: snapshot.with_upserts(new))

    def delete(self, ids: Iterable[Any]) -> int:
        """Takes candidates out; ids that are not in the index are passed over.

        Returns:
            How many were there.
        """
        names = [str(one) for one in ids]
        removed = []

        def change(snapshot: Snapshot) -> Snapshot:
            after, count = snapshot.with_deletes(names)
            removed.append(count)
            return after

        self._change(change)
        return removed[0]

    def _change(self, change: Change) -> None:
        with self._lock:
            self._snapshot = change(self._snapshot)
            if self._since is not None:
                self._since.append(change)
            elif self._has_many_changes() and not self._background:
                self._background = threading.Thread(target=self._compact_in_background)
                self._background.start()

    def _has_many_changes(self) -> bool:
        return self.compact_above is not None and self._snapshot.num_changes > self.compact_above

    # === Compaction ===

    def compact(self) -> None:
        """Builds the index anew from all candidates; it is searched and changed meanwhile.

        Raises:
            InputError: the recall that the index was built for is not reached any more. The
                index stays as it is.
        """
        with self._compacting:
            with self._lock:
                start, self._since = self._snapshot, []
            try:
                if not start.num_changes or not len(start):
                    return
                fresh, report = self._rebuilt(start)
                with self._lock:
                    for change in self._since:
                        fresh = change(fresh)
                    self._snapshot, self.report = fresh, {**self.report, **report}
            finally:
                with self._lock:
                    self._since = None

    def _rebuilt(self, start: Snapshot) -> tuple[Snapshot, dict[str, Any]]:
        live = start.live
        target = self.report.get("recall_target", 1.0)
        kind = type(start.base.searcher)
        searcher, report = kind.build(live.searcher.vectors, target, self._seed, self._queries)
        return Snapshot.of(Segment(searcher, live.ids, live.attributes)), report

    def _compact_in_background(self) -> None:
        try:
            self.compact()
        except InputError as error:
            # Answers stay right without; the next attempt comes when there is much more to do.
            self.compact_above = 2 * self._snapshot.num_changes
            logger.error("an index keeps its changes beside it, it was not compacted: %s", error)
        finally:
            with self._lock:
                self._background = None

    # === Files ===

    def save(self, folder: str | Path) -> Path:
        """Writes candidates, changes and manifest; `folder` appears whole or not at all."""
        snapshot = self._snapshot
        save_snapshot(Path(folder), snapshot, self._queries, self._manifest_of(snapshot))
        return Path(folder)

    def manifest(self) -> dict[str, Any]:
        """What a saved folder says of itself."""
        return self._manifest_of(self._snapshot)

    def _manifest_of(self, snapshot: Snapshot) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "kind": snapshot.base.searcher.kind,
            "dimension": self.dimension,
            "count": len(snapshot),
            "num_changes": snapshot.num_changes,
            "attributes": list(snapshot.base.attributes.codes),
            "report": self.report,
        }
