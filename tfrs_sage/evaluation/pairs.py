"""(query, candidate) pairs: from ids to rows, and several tasks as one group."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from tfrs_sage.errors import InputError

Rows = npt.NDArray[np.int64]


def rows_of(ids: Sequence[str], all_ids: Sequence[str], what: str = "candidate") -> Rows:
    """Row of each id in `all_ids`.

    Args:
        ids: `[p]` ids to look for.
        all_ids: `[n]` ids, each once.
        what: word for an id in the message.

    Returns:
        int64 `[p]`.

    Raises:
        InputError: some ids are not there; names the first and counts all.
        ValueError: `all_ids` has an id twice.
    """
    rows = {one: row for row, one in enumerate(all_ids)}
    if len(rows) != len(all_ids):
        raise ValueError(
            f"every {what} id must occur once. Received: {len(all_ids)} ids, {len(rows)} distinct."
        )
    missing = [one for one in ids if one not in rows]
    if missing:
        raise InputError(
            f"every {what} of a pair must be among the {len(all_ids)} embedded. "
            f"Found: {missing[0]!r} is not ({len(missing)} of {len(ids)} pairs). "
            f"Embed the {what} entities of this run again."
        )
    return np.fromiter((rows[one] for one in ids), np.int64, len(ids))


def pool_pairs(tasks: Iterable[tuple[npt.ArrayLike, npt.ArrayLike]]) -> tuple[Rows, Rows]:
    """The pairs of one or more tasks as one set: a pair that several tasks share counts once.

    Args:
        tasks: for each task its query rows `[p]` and candidate rows `[p]`.

    Returns:
        Query rows and candidate rows, int64 `[distinct pairs]`, sorted by query, then candidate.

    Raises:
        ValueError: a task's two vectors differ in length.
    """
    parts = []
    for queries, candidates in tasks:
        query = np.asarray(queries, dtype=np.int64)
        candidate = np.asarray(candidates, dtype=np.int64)
        if query.ndim != 1 or query.shape != candidate.shape:
            raise ValueError(
                "a task's query and candidate rows must be two vectors of one length. Received: "
                f"shapes {query.shape} and {candidate.shape}."
            )
        parts.append(np.stack([query, candidate]))
    pairs = np.concatenate(parts, axis=1) if parts else np.zeros((2, 0), np.int64)
    query, candidate = np.unique(pairs, axis=1)
    return query, candidate
