"""One state of an index: what was built, less what was deleted, plus what came since."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from tfrs_sage.index.attributes import Attributes, Mask, Where
from tfrs_sage.index.brute_force import BruteForceSearcher
from tfrs_sage.index.filtering import search_passing
from tfrs_sage.index.searcher import FloatArray, IdArray, RowArray, Searcher


@dataclass(frozen=True)
class Filter:
    """What a search may return: the ids allowed, but not those denied, where attributes match."""

    allow: frozenset[str] | None = None
    deny: frozenset[str] = frozenset()
    where: Where | None = None


@dataclass(frozen=True)
class Segment:
    """Candidates that never change: a searcher, and the id and the attributes of each row."""

    searcher: Searcher
    ids: IdArray
    attributes: Attributes

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def row_of(self) -> dict[str, int]:
        """The row of each id; made when first asked for."""
        return {one: row for row, one in enumerate(self.ids)}

    def rows_of(self, ids: Iterable[str]) -> RowArray:
        """Rows of the ids that are here."""
        found = (self.row_of.get(one, -1) for one in ids)
        rows = np.fromiter(found, np.int64)
        return rows[rows >= 0]

    def passing(self, asked: Filter, dead: Mask | None) -> Mask | None:
        """Which rows may be returned; None for all."""
        if dead is None and asked == Filter():
            return None
        mask = np.ones(len(self), np.bool_) if dead is None else ~dead
        if asked.where:
            mask &= self.attributes.matching(asked.where)
        if asked.allow is not None:
            allowed = np.zeros(len(self), np.bool_)
            allowed[self.rows_of(asked.allow)] = True
            mask &= allowed
        mask[self.rows_of(asked.deny)] = False
        return mask

    def chosen(self, rows: RowArray) -> "Segment":
        """Some of the rows, searched exactly."""
        vectors = np.ascontiguousarray(self.searcher.vectors[rows])
        return Segment(BruteForceSearcher(vectors), self.ids[rows], self.attributes.select(rows))

    def followed_by(self, other: "Segment") -> "Segment":
        """These candidates, then the other ones, searched exactly."""
        vectors = np.concatenate([self.searcher.vectors, other.searcher.vectors])
        ids = np.concatenate([self.ids, other.ids])
        return Segment(
            BruteForceSearcher(vectors), ids, self.attributes.followed_by(other.attributes)
        )


@dataclass(frozen=True)
class Snapshot:
    """An index at one moment. A change makes another one: whoever searches this one is undisturbed.

    Attributes:
        base: what the index was built from.
        delta: what was upserted since, searched exactly.
        dead: bool `[len(base)]`, the rows of the base that were deleted or replaced (tombstones);
            None where there are none.
    """

    base: Segment
    delta: Segment
    dead: Mask | None = None

    @classmethod
    def of(cls, base: Segment) -> "Snapshot":
        return cls(base, base.chosen(np.zeros(0, np.int64)))

    @property
    def num_changes(self) -> int:
        """Candidates that are searched apart from the base, or in vain within it."""
        return len(self.delta) + (0 if self.dead is None else int(np.count_nonzero(self.dead)))

    def __len__(self) -> int:
        num_dead = 0 if self.dead is None else int(np.count_nonzero(self.dead))
        return len(self.base) - num_dead + len(self.delta)

    def search(self, queries: FloatArray, k: int, asked: Filter) -> tuple[RowArray, FloatArray]:
        """Slots and scores, `[num_queries, min(k, candidates that pass)]`, best first.

        A slot is a row of the base or, from `len(base)` on, of the delta.
        """
        base = self.base.passing(asked, self.dead)
        slots, scores = search_passing(self.base.searcher, queries, k, base)
        if not len(self.delta):
            return slots, scores
        delta = self.delta.passing(asked, None)
        more, more_scores = search_passing(self.delta.searcher, queries, k, delta)
        slots = np.concatenate([slots, more + len(self.base)], axis=1)
        scores = np.concatenate([scores, more_scores], axis=1)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(slots, best, 1), np.take_along_axis(scores, best, 1)

    def ids_of(self, slots: RowArray) -> IdArray:
        """The id in each slot, in the shape of `slots`."""
        if not len(self.delta):
            return self.base.ids[slots]
        new = slots >= len(self.base)
        ids = self.base.ids[np.where(new, 0, slots)]
        ids[new] = self.delta.ids[slots[new] - len(self.base)]
        return ids

    def rows_of(self, slots: RowArray) -> RowArray:
        """The row in `live` of each slot."""
        return slots if self.dead is None else self._rows[slots]

    # === Changes ===

    def with_upserts(self, new: Segment) -> "Snapshot":
        """`new` in place of the candidates with the same ids, and beside the others."""
        without, _ = self.with_deletes(new.ids)
        return replace(without, delta=without.delta.followed_by(new))

    def with_deletes(self, ids: Iterable[str]) -> tuple["Snapshot", int]:
        """Without some candidates, and how many of them there were."""
        ids = list(ids)
        dead = np.zeros(len(self.base), np.bool_) if self.dead is None else self.dead.copy()
        before = np.count_nonzero(dead)
        dead[self.base.rows_of(ids)] = True
        kept = np.ones(len(self.delta), np.bool_)
        kept[self.delta.rows_of(ids)] = False
        removed = int(np.count_nonzero(dead) - before + np.count_nonzero(~kept))
        delta = self.delta if kept.all() else self.delta.chosen(np.flatnonzero(kept))
        return Snapshot(self.base, delta, dead if dead.any() else None), removed

    # === Candidates ===

    @cached_property
    def live(self) -> Segment:
        """Every candidate, in the order of its row; the base itself where nothing changed."""
        if not self.num_changes:
            return self.base
        kept = self.base if self.dead is None else self.base.chosen(np.flatnonzero(~self.dead))
        return kept.followed_by(self.delta)

    @cached_property
    def _rows(self) -> RowArray:
        """The row in `live` of every slot."""
        kept = np.ones(len(self.base) + len(self.delta), np.bool_)
        if self.dead is not None:
            kept[: len(self.base)] = ~self.dead
        return np.cumsum(kept) - 1
