"""Exact ranks among all candidates, in bounded memory, however many candidates there are.

Candidates are gone through once, in blocks, for all queries: neither the scores `[q, n]` nor the
candidates need to fit into memory. They may be a memory-mapped array, and distractors may come
from disk a block at a time (`vector_blocks`).

A float32 matrix product is fast, and its last digits depend on the shape of the block. So it only
decides what lies clearly above or below; whatever lies within its error bound is compared again
by float64 dot products, which depend on nothing but the two vectors. Ranks are therefore the same
for every block size, and equal vectors are exact ties.

The order of candidates is everywhere: higher score first, then lower row.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

CHUNK_BYTES = 64 * 2**20
# Rows of candidates that are scored at a time, and pairs whose vectors are gathered at a time.
BLOCK_ROWS = 1 << 14

Vectors = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]


class _Block(NamedTuple):
    """Candidates `[b, d]`, the row of the first, and the scores of some queries `[r, b]`."""

    queries: slice
    first: int
    candidates: Vectors
    scores: Vectors
    errors: Scores  # `[r]`, how far a query's float32 scores may be from the true ones


def rank_pairs(
    query_vectors: npt.ArrayLike,
    candidate_vectors: npt.ArrayLike,
    pair_query: npt.ArrayLike,
    pair_candidate: npt.ArrayLike,
    distractors: Iterable[npt.ArrayLike] = (),
    chunk_bytes: int = CHUNK_BYTES,
) -> Rows:
    """Rank of each pair's candidate among all candidates, by dot product with the pair's query.

    The rank is 1 + the candidates with a higher score + those with an equal score in an earlier
    row: the place that `top_k` gives it. Nothing is left out: other positives of the query, and
    the query's own product where candidates and queries are products, are candidates like all
    others.

    Args:
        query_vectors: `[q, d]`, used as float32 (a copy is made unless they are).
        candidate_vectors: `[n, d]`, any array, memory-mapped ones too: it is read in blocks, each
            of which is used as float32.
        pair_query: int `[p]`, row of each pair's query.
        pair_candidate: int `[p]`, row of each pair's candidate.
        distractors: blocks `[any, d]` of candidates that are nobody's positive, in the rows after
            `candidate_vectors`; gone through once.
        chunk_bytes: memory for scores; those of one query with one block are held at least.

    Returns:
        int64 `[p]`, 1 is the best.

    Raises:
        ValueError: shapes do not fit, a row is out of range, or a vector is not finite.
    """
    queries, candidates = _checked(query_vectors, candidate_vectors)
    query = _checked_rows(pair_query, len(queries), "pair_query")
    candidate = _checked_rows(pair_candidate, len(candidates), "pair_candidate")
    if query.shape != candidate.shape:
        raise ValueError(
            "`pair_query` and `pair_candidate` must have one length. Received: "
            f"{query.shape} and {candidate.shape}."
        )
    order = np.argsort(query, kind="stable")
    wanted, starts = np.unique(query[order], return_index=True)
    bounds = np.append(starts, len(order))
    asking, positives = queries[wanted], candidate[order]
    exact = _pair_scores(queries, candidates, query[order], positives)
    ahead = np.zeros(len(order), np.int64)
    for block in _scored(asking, candidates, distractors, chunk_bytes):
        for row, scores, error in _rows_of(block):
            pairs = slice(bounds[row], bounds[row + 1])
            ahead[pairs] += _ahead(
                asking[row], block, scores, error, positives[pairs], exact[pairs]
            )
    ranks = np.empty(len(order), np.int64)
    ranks[order] = ahead + 1
    return ranks


def top_k(
    query_vectors: npt.ArrayLike,
    candidate_vectors: npt.ArrayLike,
    k: int,
    distractors: Iterable[npt.ArrayLike] = (),
    chunk_bytes: int = CHUNK_BYTES,
) -> tuple[Rows, Vectors]:
    """The `k` best candidates of each query, exactly.

    Args:
        query_vectors: `[q, d]`, used as float32.
        candidate_vectors: `[n, d]`, any array, memory-mapped ones too.
        k: how many; fewer candidates give as many as there are.
        distractors: blocks of further candidates, as in `rank_pairs`.
        chunk_bytes: memory for scores; those of one query with one block are held at least.

    Returns:
        Rows int64 and dot products float32, each `[q, min(k, all candidates)]`, best first, ties
        by row. Rows from n on are distractors, in their order.

    Raises:
        ValueError: `k` is not positive, shapes do not fit, or a vector is not finite.
    """
    if k < 1:
        raise ValueError(f"`k` must be a positive int. Received: k={k}.")
    queries, candidates = _checked(query_vectors, candidate_vectors)
    best = np.full((len(queries), k), np.iinfo(np.int64).max)
    values = np.full((len(queries), k), -np.inf)
    total = len(candidates)
    for block in _scored(queries, candidates, distractors, chunk_bytes):
        total = max(total, block.first + len(block.candidates))
        for row, scores, error in _rows_of(block):
            # What lies more than the error below the k-th so far is not among the k best.
            near = np.flatnonzero(scores >= _below(values[row, -1], error))
            if len(near) > k:
                # The k-th largest float32 score is at most one error above the k-th true score.
                floor = np.partition(scores[near], -k)[-k] - 2 * error
                near = near[scores[near] >= floor]
            found = np.append(values[row], _exact_scores(queries[row], block.candidates, near))
            rows = np.append(best[row], near + block.first)
            chosen = np.lexsort((rows, -found))[:k]
            best[row], values[row] = rows[chosen], found[chosen]
    k = min(k, total)
    return best[:, :k], values[:, :k].astype(np.float32)


def rank_in_scores(
    scores: npt.ArrayLike, rows: npt.ArrayLike, then: npt.ArrayLike | None = None
) -> Rows:
    """Ranks of some rows in one list of scores, in the order of `rank_pairs`.

    Args:
        scores: `[n]`, one query's score of each candidate.
        rows: int `[p]`.
        then: `[n]`, higher is better among equal scores; of those equal in both the lower row.

    Returns:
        int64 `[p]`, 1 is the best.
    """
    score = np.asarray(scores)
    second = np.zeros(len(score)) if then is None else np.asarray(then)
    ranks = []
    for row in np.asarray(rows, np.int64):
        tied = np.flatnonzero(score == score[row])
        ahead = second[tied] > second[row]
        ahead |= (second[tied] == second[row]) & (tied < row)
        ranks.append(1 + np.count_nonzero(score > score[row]) + np.count_nonzero(ahead))
    return np.array(ranks, np.int64)


def _ahead(
    query: Vectors, block: _Block, scores: Vectors, error: float, positives: Rows, exact: Scores
) -> Rows:
    """How many candidates of a block stand before each of a query's positives."""
    # Compared as float32 numbers, which is twice as fast; rounded outwards so that none is missed.
    above, below = _above(exact, error), _below(exact, error)
    ahead = np.zeros(len(positives), np.int64)
    for one in range(len(positives)):
        not_worse = np.count_nonzero(scores >= below[one])
        if not_worse == 0:
            continue
        ahead[one] = np.count_nonzero(scores > above[one])
        if not_worse == ahead[one]:
            continue
        # A positive is always near itself; whoever else is near must be compared exactly.
        near = np.flatnonzero((scores >= below[one]) & (scores <= above[one]))
        near_exact = _exact_scores(query, block.candidates, near)
        tied = (near_exact == exact[one]) & (near + block.first < positives[one])
        ahead[one] += np.count_nonzero(tied | (near_exact > exact[one]))
    return ahead


def _above(exact: npt.ArrayLike, error: float) -> npt.NDArray[np.float32]:
    return np.nextafter(np.float32(np.asarray(exact) + error), np.float32(np.inf))


def _below(exact: npt.ArrayLike, error: float) -> npt.NDArray[np.float32]:
    return np.nextafter(np.float32(np.asarray(exact) - error), np.float32(-np.inf))


def _exact_scores(query: Vectors, candidates: Vectors, rows: Rows) -> Scores:
    """Dot products `[rows]` in float64, each computed by itself and so always the same."""
    # A product of two float32 numbers is exact in float64, and numpy sums every row alike.
    return (candidates[rows] * query.astype(np.float64)).sum(axis=1)


def _pair_scores(queries: Vectors, candidates: npt.NDArray, query: Rows, rows: Rows) -> Scores:
    """As `_exact_scores`, of pairs: float64 `[p]`."""
    scores = np.empty(len(rows))
    for start in range(0, len(rows), BLOCK_ROWS):
        part = slice(start, start + BLOCK_ROWS)
        vectors = np.asarray(candidates[rows[part]], np.float32)
        scores[part] = (vectors * queries[query[part]].astype(np.float64)).sum(axis=1)
    return scores


def _scored(
    queries: Vectors,
    candidates: npt.NDArray,
    distractors: Iterable[npt.ArrayLike],
    chunk_bytes: int,
) -> Iterator[_Block]:
    """Every block of candidates with every block of queries, candidates in their order."""
    if chunk_bytes < 1:
        raise ValueError(f"`chunk_bytes` must be positive. Received: {chunk_bytes}.")
    norms = np.sqrt(_squared_norms(queries))
    step = max(1, chunk_bytes // (4 * BLOCK_ROWS))
    for first, block in _candidate_blocks(candidates, distractors, queries.shape[1]):
        longest = np.sqrt(_squared_norms(block).max())
        # A dot product of d float32 terms is off by at most d u |x||y|, u = 2^-24 (Higham, 3.1).
        unit = (queries.shape[1] + 4) * 2.0**-24 * longest
        for start in range(0, len(queries), step):
            rows = slice(start, min(start + step, len(queries)))
            yield _Block(rows, first, block, queries[rows] @ block.T, unit * norms[rows])


def _rows_of(block: _Block) -> Iterator[tuple[int, Vectors, float]]:
    """Each query of a block: its row, its scores `[b]`, their error."""
    rows = range(block.queries.start, block.queries.stop)
    yield from zip(rows, block.scores, block.errors.tolist(), strict=True)


def _candidate_blocks(
    candidates: npt.NDArray, distractors: Iterable[npt.ArrayLike], width: int
) -> Iterator[tuple[int, Vectors]]:
    """Row of the first and float32 vectors of each block, all of them finite."""
    first = 0
    parts = [("candidate_vectors", candidates)]
    for name, part in (*parts, *(("distractors", np.asanyarray(one)) for one in distractors)):
        if part.ndim != 2 or part.shape[1] != width:
            raise ValueError(
                f"`{name}` must be vectors [any, {width}]. Received: shape {part.shape}."
            )
        for start in range(0, len(part), BLOCK_ROWS):
            block = np.ascontiguousarray(part[start : start + BLOCK_ROWS], np.float32)
            _require_finite(block, name, start)
            yield first + start, block
        first += len(part)


def _squared_norms(vectors: Vectors) -> Scores:
    return np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)


def _require_finite(vectors: Vectors, name: str, first: int = 0) -> None:
    bad = np.flatnonzero(~np.isfinite(_squared_norms(vectors)))
    if bad.size:
        raise ValueError(
            f"`{name}` must be finite. Received: row {first + bad[0]} holds NaN or infinity."
        )


def _checked(queries: npt.ArrayLike, candidates: npt.ArrayLike) -> tuple[Vectors, npt.NDArray]:
    query = np.ascontiguousarray(queries, dtype=np.float32)
    candidate = np.asanyarray(candidates)
    if query.ndim != 2 or candidate.ndim != 2 or query.shape[1] != candidate.shape[1]:
        raise ValueError(
            "vectors must be matrices [q, d] and [n, d] of one width. Received: shapes "
            f"{query.shape} and {candidate.shape}."
        )
    _require_finite(query, "query_vectors")
    return query, candidate


def _checked_rows(rows: npt.ArrayLike, count: int, name: str) -> Rows:
    given = np.asarray(rows)
    if given.ndim != 1 or (given.size and not np.issubdtype(given.dtype, np.integer)):
        raise ValueError(
            f"`{name}` must be a vector of row numbers. Received: shape {given.shape}, "
            f"{given.dtype}."
        )
    if given.size and not (given.min() >= 0 and given.max() < count):
        raise ValueError(
            f"`{name}` must be rows 0 to {count - 1}. Received: {given.min()} to {given.max()}."
        )
    return given.astype(np.int64)
