"""Metrics of lists that a search has already answered: ids in, one number out."""

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np


def recall_at_k(ranked_ids: Sequence[Any], positive_ids: Sequence[Any], k: int) -> float:
    """Share of the (query, positive) pairs whose positive is among the first `k` of its query.

    Every pair counts the same, so a query with five positives weighs five times one with a single
    positive. A positive named twice for one query is one pair; a query with no positive has none.

    Args:
        ranked_ids: `[num_queries, >= k]` ids, best first. A row shorter than `k` is the whole
            answer: what is not in it was not found.
        positive_ids: `[num_queries]`; for each query one id, or a list of ids.
        k: how many of each row are looked at.

    Returns:
        The share, 0 to 1.

    Raises:
        ValueError: `k` is not positive, the lengths differ, or there is no pair at all.

    Example:
        >>> recall_at_k([["a", "b"], ["c", "d"]], [["b", "x"], "c"], k=2)
        0.6666666666666666
    """
    if k < 1:
        raise ValueError(f"`k` must be a positive int. Received: k={k}.")
    found = pairs = 0
    for row, positives in _rows(ranked_ids, positive_ids):
        found += len(positives.intersection(row[:k]))
        pairs += len(positives)
    if not pairs:
        raise ValueError("recall needs at least one (query, positive) pair. Received: none.")
    return found / pairs


def reciprocal_rank(ranked_ids: Sequence[Any], positive_ids: Sequence[Any]) -> float:
    """Mean over the queries of 1 / rank of the first positive, 0 where none is in the row.

    Args:
        ranked_ids: `[num_queries, any]` ids, best first.
        positive_ids: `[num_queries]`; for each query one id, or a list of ids. A query with no
            positive is left out of the mean.

    Returns:
        The mean, 0 to 1.

    Raises:
        ValueError: the lengths differ, or no query has a positive.

    Example:
        >>> reciprocal_rank([["a", "b"], ["c", "d"]], ["b", "c"])
        0.75
    """
    values = []
    for row, positives in _rows(ranked_ids, positive_ids):
        if positives:
            first = next((rank for rank, one in enumerate(row, 1) if one in positives), None)
            values.append(0.0 if first is None else 1.0 / first)
    if not values:
        raise ValueError("MRR needs at least one (query, positive) pair. Received: none.")
    return sum(values) / len(values)


def _rows(
    ranked_ids: Sequence[Any], positive_ids: Sequence[Any]
) -> Iterable[tuple[list[Hashable], set[Hashable]]]:
    """Each query's ranked list and its set of positives, as plain Python values."""
    if len(ranked_ids) != len(positive_ids):
        raise ValueError(
            "`ranked_ids` and `positive_ids` must have one entry for each query. Received: "
            f"{len(ranked_ids)} and {len(positive_ids)}."
        )
    for ranked, positives in zip(ranked_ids, positive_ids, strict=True):
        yield _plain(ranked), set(_plain(positives))


def _plain(ids: Any) -> list[Hashable]:
    """One id or many as a list of str or int; UTF-8 bytes and str are the same id."""
    if isinstance(ids, set | frozenset):
        ids = list(ids)
    values = ids.tolist() if isinstance(ids, np.ndarray | np.generic) else ids
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        values = [values]
    return [
        one.decode()
        if isinstance(one, bytes)
        else one.item()
        if isinstance(one, np.generic)
        else one
        for one in values
    ]
