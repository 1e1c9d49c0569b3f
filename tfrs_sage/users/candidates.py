"""What can be retrieved for users, and what of it one user may be shown."""

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tfrs_sage.users.retrieval import Rows
from tfrs_sage.users.store import StoredUser

NO_ROW = -1
_UNKNOWN, _FREE, _NEAR, _ACTED_ON, _ACTED_ON_AND_COUNTED = range(5)  # verdicts on a row
_LOOK_AHEAD = 32  # rows looked at beyond those that are missing, for those that are left out


class SearchIndex(Protocol):
    """Any index over items; `tfrs_sage.index.Index` is one.

    Attributes:
        ids: the items' ids `[n]`.
        vectors: float32 `[n, d]`, their vectors; may lie on disk.
    """

    @property
    def ids(self) -> Any: ...

    @property
    def vectors(self) -> Any: ...

    def search(self, queries: Any, k: int) -> tuple[Any, Any]:
        """Ids and dot products `[num_queries, min(k, n)]`, best first."""


class Candidates:
    """An index with the row of each item, and a version that its lists are kept under.

    Args:
        index: what is searched. Its own vectors are the medoids' queries, so an index over the
            first components alone is asked with the first components.
        version: another one for every other index.
    """

    def __init__(self, index: SearchIndex, version: str) -> None:
        self.index, self.version = index, version
        self._row_of = {item: row for row, item in enumerate(index.ids)}

    def __len__(self) -> int:
        return len(self._row_of)

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._row_of

    def rows_of(self, item_ids: Iterable[str]) -> Rows:
        """The row of each item, int64 `[m]`; `NO_ROW` for an item that is not in the index."""
        return np.array([self._row_of.get(item, NO_ROW) for item in item_ids], np.int64)

    def id_of(self, row: int) -> str:
        return str(self.index.ids[row])

    def unit_vectors_of(self, rows: Rows) -> npt.NDArray[np.float32]:
        """float32 `[m, d]`, divided by their norms; zero vectors stay zero."""
        vectors = np.asarray(self.index.vectors[rows], np.float32)
        norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        norms[norms == 0] = 1.0
        return np.divide(vectors, norms[:, None], dtype=np.float32)


def acted_on(user: StoredUser) -> list[str]:
    """The items that a user is known to have acted on, each once.

    These are: the members of the batch's clusters (the newest `max_actions` actions within the
    window), the recent actions (the newest `online_actions` since the batch), and every medoid. A
    batch that was stored without members gives its medoids only. Not known are older actions,
    those of weight 0, and those that newer ones have pushed out since the batch, until the next.
    """
    items = [action.item_id for action in user.recent]
    for cluster in (*(user.batch.clusters if user.batch else ()), *user.online):
        items += [cluster.medoid_id, *cluster.member_ids]
    return list(dict.fromkeys(items))


class Screen:
    """What a user may be shown, and how much may not. For one answer.

    Args:
        candidates: what is retrieved from.
        user: who is shown nothing of `acted_on`.
        duplicate_cosine: nor anything whose cosine to one of these is above it.

    Attributes:
        num_acted_on: items met that the user has acted on.
        num_near_duplicates: items met that are near-duplicates of these.
    """

    def __init__(self, candidates: Candidates, user: StoredUser, duplicate_cosine: float) -> None:
        self.candidates = candidates
        rows = candidates.rows_of(acted_on(user))
        acted_on_rows = rows[rows != NO_ROW]
        self._vectors = candidates.unit_vectors_of(acted_on_rows)
        self._cosine = duplicate_cosine
        self._verdicts = np.zeros(len(candidates), np.int8)  # by row: a byte an item
        self._verdicts[acted_on_rows] = _ACTED_ON
        self.num_acted_on = self.num_near_duplicates = 0

    def first(self, rows: npt.NDArray[np.integer], number: int) -> Rows:
        """Places of the first rows that may be shown, `[at most number]`.

        No more of them are looked at than it takes, some at a time.
        """
        found: list[Rows] = []
        missing, start = number, 0
        while missing > 0 and start < len(rows):
            part = rows[start : start + missing + _LOOK_AHEAD]
            left = np.flatnonzero(self._judged(part) == _FREE)[:missing]
            found.append(start + left)
            missing -= len(left)
            start += len(part)
        return np.concatenate(found) if found else np.empty(0, np.int64)

    def _judged(self, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.int8]:
        """The verdict on each of some different rows."""
        verdicts = self._verdicts[rows]
        self.num_acted_on += int((verdicts == _ACTED_ON).sum())
        self._verdicts[rows[verdicts == _ACTED_ON]] = _ACTED_ON_AND_COUNTED
        new = rows[verdicts == _UNKNOWN]
        if len(new):
            is_near = np.zeros(len(new), np.bool_)
            if len(self._vectors):
                cosines = self.candidates.unit_vectors_of(new) @ self._vectors.T
                is_near = cosines.max(axis=1) > self._cosine
            self._verdicts[new] = np.where(is_near, _NEAR, _FREE)
            self.num_near_duplicates += int(is_near.sum())
        return self._verdicts[rows]
