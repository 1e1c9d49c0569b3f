"""Figures of parts of a test set: for whom a model works, and for whom it does not."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tfrs_sage.evaluation.intervals import bootstrap_intervals
from tfrs_sage.evaluation.per_query import per_query
from tfrs_sage.evaluation.retrieval_metrics import KS, metrics_of_ranks

_NUMBERED = re.compile(r"(?:decile |met )?(\d{1,8})\b")
OTHER, ABSENT = "(other)", "(none)"


def slice_figures(
    ranks: npt.ArrayLike,
    pair_query: npt.ArrayLike,
    labels: Sequence[str],
    index_size: int,
    ks: Sequence[int] = KS,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """The figures of the pairs of each label, as if they were all.

    Ranks stay those among all candidates. A query whose pairs have several labels is in several
    slices, in each with the positives of that label alone.

    Args:
        ranks: int `[p]`, of distinct pairs.
        pair_query: int `[p]`, query of each pair.
        labels: `[p]`, slice of each pair, by its query or its candidate.
        index_size: number of candidates ranked.
        ks: cut-offs.
        seed: of the intervals.

    Returns:
        By label, in order of the label (numbers in it by their value): as `metrics_of_ranks`, and
        `intervals` by figure.

    Raises:
        ValueError: lengths differ, or there is no pair.
    """
    rank, query, label = np.asarray(ranks), np.asarray(pair_query), np.asarray(labels, object)
    if not rank.shape == query.shape == label.shape:
        raise ValueError(
            "`ranks`, `pair_query` and `labels` must be vectors of one length. Received: shapes "
            f"{rank.shape}, {query.shape} and {label.shape}."
        )
    figures: dict[str, dict[str, Any]] = {}
    for name in sorted(set(labels), key=_natural):
        rows = label == name
        figures[name] = {
            **metrics_of_ranks(rank[rows], query[rows], index_size, ks),
            "intervals": bootstrap_intervals(per_query(rank[rows], query[rows], ks), seed=seed),
        }
    return figures


def seen_labels(counts: npt.ArrayLike) -> list[str]:
    """`new` where training has no pair of the item, else `seen`."""
    return ["seen" if count else "new" for count in np.asarray(counts)]


def frequency_labels(counts: npt.ArrayLike) -> list[str]:
    """How often training met a query: 0, 1-4, 5-19 or 20+ training pairs."""
    names = ("0", "1-4", "5-19", "20+")
    return [f"met {names[i]} times" for i in np.digitize(np.asarray(counts), [1, 5, 20])]


def length_labels(texts: Sequence[str]) -> list[str]:
    """How long a text is: `1-2 words`, `3-4 words` or `5+ words`."""
    names = ("1-2", "3-4", "5+")
    return [f"{names[np.digitize(len(text.split()), [3, 5])]} words" for text in texts]


def popularity_deciles(counts: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Decile of each item by its number of training pairs: 1 the least popular, 10 the most.

    Items met equally often share one decile, that of the middle of their places: where most of a
    catalogue was never met, low deciles have no item.

    Args:
        counts: int `[n]`, of the whole catalogue.

    Returns:
        int64 `[n]`, 1 to 10.
    """
    count = np.asarray(counts)
    _, group, sizes = np.unique(count, return_inverse=True, return_counts=True)
    middle = np.cumsum(sizes) - sizes / 2.0
    deciles: npt.NDArray[np.int64] = np.minimum(10 * middle / max(1, count.size), 9).astype(
        np.int64
    )
    return deciles[group] + 1


def value_labels(values: Sequence[str | None], most: int = 20) -> list[str]:
    """The values themselves; `(other)` beyond the most frequent ones, `(none)` where absent."""
    names = [value.strip() if value and value.strip() else ABSENT for value in values]
    common = Counter(name for name in names if name != ABSENT).most_common(most)
    kept = {ABSENT, *(name for name, _ in common)}
    return [name if name in kept else OTHER for name in names]


def _natural(label: str) -> tuple[bool, int, str]:
    """Numbered labels by their number, then words, then what is left over."""
    number = _NUMBERED.match(label)
    return label in (OTHER, ABSENT), int(number[1]) if number else 10**9, label
