"""What a user's queries bring from a catalogue: exact search, merged by rank."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tfrs_sage.users.alternatives import Queries, Vectors, unit

Rows = npt.NDArray[np.int64]

# Similarities held at once: 64 MB of float32.
BLOCK_ELEMENTS = 1 << 24


class Catalogue:
    """All items that can be retrieved.

    Attributes:
        vectors: float32 `[n, d]`, of norm 1 (so that a product is a cosine).
        rows: row of each item id.
    """

    def __init__(self, item_ids: Sequence[str], vectors: npt.ArrayLike) -> None:
        """Takes the items as they come and divides each vector by its norm.

        Raises:
            ValueError: not one finite vector for each id, or an id twice.
        """
        self.vectors = unit(np.asarray(vectors))
        self.rows = {item: row for row, item in enumerate(item_ids)}
        if len(self.rows) != len(item_ids) or self.vectors.shape[:-1] != (len(item_ids),):
            raise ValueError(
                f"A catalogue must have one vector for each id, and each id once. Received: "
                f"{len(item_ids)} ids, {len(self.rows)} different, shape {self.vectors.shape}."
            )
        if not np.isfinite(self.vectors).all():
            raise ValueError("Vectors of a catalogue must be finite. Received: NaN or infinity.")

    def rows_of(self, item_ids: Sequence[str]) -> Rows:
        """Rows of those of the items that the catalogue has, ascending, each once."""
        known = {self.rows[item] for item in item_ids if item in self.rows}
        return np.array(sorted(known), np.int64)


def retrieve(
    catalogue: Catalogue,
    queries: Sequence[Queries],
    excluded: Sequence[Rows],
    num_items: int = 400,
) -> list[Rows]:
    """The items that each user is shown, best first.

    Every query ranks the catalogue by cosine. An item's place is the least of `(rank + 1) / weight`
    over the user's queries, so that queries take turns in proportion to their weights, an item
    comes once, and every user gets as many items as any other.

    Args:
        catalogue: `n` items.
        queries: one for each user.
        excluded: rows of the catalogue that a user is not shown.
        num_items: items for each user; fewer where the catalogue has fewer left.

    Returns:
        Rows of the catalogue, `[at most num_items]` for each user.
    """
    counts = [len(one.vectors) for one in queries]
    vectors = unit(np.concatenate([one.vectors for one in queries]))
    user_of = np.repeat(np.arange(len(queries)), counts)
    ranked = _ranked(catalogue, vectors, [excluded[user] for user in user_of.tolist()], num_items)
    parts = np.split(ranked, np.cumsum(counts)[:-1])
    return [
        _merged(part, one.weights)[:num_items] for part, one in zip(parts, queries, strict=True)
    ]


def _ranked(
    catalogue: Catalogue, vectors: Vectors, excluded: Sequence[Rows], num_items: int
) -> Rows:
    """The nearest items of each query `[q, num_items]`, nearest first; -1 where none is left.

    Equal cosines stand by row, so that the answer does not depend on how it is found.
    """
    num_rows = len(catalogue.vectors)
    num_items = min(num_items, num_rows)
    ranked = np.empty((len(vectors), num_items), np.int64)
    step = max(1, BLOCK_ELEMENTS // max(1, num_rows))
    for start in range(0, len(vectors), step):
        cosines = vectors[start : start + step] @ catalogue.vectors.T
        for place, rows in enumerate(excluded[start : start + step]):
            cosines[place, rows] = -np.inf
        best = np.argpartition(cosines, num_rows - num_items, axis=1)[:, num_rows - num_items :]
        values = np.take_along_axis(cosines, best, axis=1)
        order = np.lexsort((best, -values), axis=1)
        best[np.isneginf(values)] = -1
        ranked[start : start + step] = np.take_along_axis(best, order, axis=1)
    return ranked


def _merged(ranked: Rows, weights: npt.NDArray[np.float64]) -> Rows:
    """Different rows of `ranked` `[q, k]` by the least `(rank + 1) / weight`."""
    place = (np.arange(ranked.shape[1]) + 1) / weights[:, None]
    heavier_first = np.broadcast_to(-weights[:, None], place.shape)
    rows = ranked.ravel()[np.lexsort((heavier_first.ravel(), place.ravel()))]
    rows = rows[rows >= 0]
    return rows[np.sort(np.unique(rows, return_index=True)[1])]
