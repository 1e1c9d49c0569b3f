"""Search among the candidates that pass a filter: k results whenever k of them pass."""

import numpy as np

from tfrs_sage.index.attributes import Mask
from tfrs_sage.index.brute_force import exact_top_k
from tfrs_sage.index.searcher import FloatArray, RowArray, Searcher

# So few candidates are scored one and all: that is exact, and quicker than to look for them.
SCORED_AT_ONCE = 4096
# Results fetched for each that is wanted, as a share of what the filter lets through on average;
# where its candidates lie far from the query, four times as many are fetched, again and again.
FIRST_FETCH, GROWTH = 1.5, 4
MOST_FETCHED = 0.25  # of all candidates; then those that pass are scored one and all


def search_passing(
    searcher: Searcher, queries: FloatArray, k: int, passing: Mask | None
) -> tuple[RowArray, FloatArray]:
    """The `k` best rows that pass.

    Args:
        searcher: over n rows.
        queries: float32 `[num_queries, d]`.
        k: at least 1.
        passing: bool `[n]`; None when all rows pass.

    Returns:
        rows: int64 `[num_queries, min(k, rows that pass)]`, best first.
        scores: float32, of the same shape.
    """
    count = len(searcher)
    num_passing = count if passing is None else int(np.count_nonzero(passing))
    k = min(k, num_passing)
    rows = np.zeros((len(queries), k), np.int64)
    scores = np.zeros((len(queries), k), np.float32)
    if not k or not len(queries):
        return rows, scores
    if passing is None or num_passing == count:
        return searcher.search_rows(queries, k)
    pending = np.arange(len(queries))
    fetched = int(FIRST_FETCH * k * count / num_passing) + 1
    while len(pending) and num_passing > SCORED_AT_ONCE and fetched < MOST_FETCHED * count:
        found, found_scores = searcher.search_rows(queries[pending], fetched)
        passes = passing[found]
        enough = passes.sum(axis=1) >= k
        first = np.argsort(~passes[enough], axis=1, kind="stable")[:, :k]
        rows[pending[enough]] = np.take_along_axis(found[enough], first, axis=1)
        scores[pending[enough]] = np.take_along_axis(found_scores[enough], first, axis=1)
        pending = pending[~enough]
        fetched *= GROWTH
    if len(pending):
        left = np.flatnonzero(passing)
        best, scores[pending] = exact_top_k(searcher.vectors[left], queries[pending], k)
        rows[pending] = left[best]
    return rows, scores
