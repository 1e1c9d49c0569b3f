"""Exact ranks among all candidates, in bounded memory.

A float32 matrix product is fast, and its last digits depend on the shape of the block. So it only
decides what lies clearly above or below; whatever lies within its error bound is compared again
by float64 dot products, which depend on nothing but the two vectors. Ranks are therefore the same
for every block size, and equal vectors are exact ties.

The order of candidates is everywhere: higher score first, then lower row.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

CHUNK_BYTES = 256 * 2**20
# Rows that are compared again at a time.
REFINE_ROWS = 1 << 14

Vectors = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


def rank_pairs(
    query_vectors: npt.ArrayLike,
    candidate_vectors: npt.ArrayLike,
    pair_query: npt.ArrayLike,
    pair_candidate: npt.ArrayLike,
    chunk_bytes: int = CHUNK_BYTES,
) -> Rows:
    """Rank of each pair's candidate among all candidates, by dot product with the pair's query.

    The rank is 1 + the candidates with a higher score + those with an equal score in an earlier
    row: the place that `top_k` gives it. Nothing is left out: other positives of the query, and
    the query's own product where candidates and queries are products, are candidates like all
    others.

    Args:
        query_vectors: `[q, d]`, used as float32 (a copy is made unless they are).
        candidate_vectors: `[n, d]`, likewise.
        pair_query: int `[p]`, row of each pair's query.
        pair_candidate: int `[p]`, row of each pair's candidate.
        chunk_bytes: memory for scores; one query's scores (`4 n` bytes) are held at least.

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
    ranks = np.empty(len(query), np.int64)
    order = np.argsort(query, kind="stable")
    wanted, starts = np.unique(query[order], return_index=True)
    ends = np.append(starts[1:], len(order))
    position = 0
    for rows, scores, error in _score_blocks(queries, candidates, wanted, chunk_bytes):
        for row, row_scores, row_error in zip(rows, scores, error, strict=True):
            pairs = order[starts[position] : ends[position]]
            ranks[pairs] = _ranks(
                queries[row], candidates, candidate[pairs], row_scores, float(row_error)
            )
            position += 1
    return ranks


def top_k(
    query_vectors: npt.ArrayLike,
    candidate_vectors: npt.ArrayLike,
    k: int,
    chunk_bytes: int = CHUNK_BYTES,
) -> tuple[Rows, Vectors]:
    """The `k` best candidates of each query, exactly.

    Args:
        query_vectors: `[q, d]`, used as float32.
        candidate_vectors: `[n, d]`, used as float32.
        k: how many; fewer candidates give as many as there are.
        chunk_bytes: memory for scores; one query's scores (`4 n` bytes) are held at least.

    Returns:
        Rows int64 and dot products float32, each `[q, min(k, n)]`, best first, ties by row.

    Raises:
        ValueError: `k` is not positive, shapes do not fit, or a vector is not finite.
    """
    if k < 1:
        raise ValueError(f"`k` must be a positive int. Received: k={k}.")
    queries, candidates = _checked(query_vectors, candidate_vectors)
    k = min(k, len(candidates))
    best = np.empty((len(queries), k), np.int64)
    values = np.empty((len(queries), k), np.float32)
    if k == 0:
        return best, values
    everything = np.arange(len(queries))
    for rows, scores, error in _score_blocks(queries, candidates, everything, chunk_bytes):
        for row, row_scores, row_error in zip(rows, scores, error, strict=True):
            # The k-th largest float32 score is at most one error above the k-th true score.
            floor = np.partition(row_scores, -k)[-k] - 2 * row_error
            near = np.flatnonzero(row_scores >= floor)
            exact = _exact_scores(queries[row], candidates, near)
            chosen = np.lexsort((near, -exact))[:k]
            best[row], values[row] = near[chosen], exact[chosen]
    return best, values


def _ranks(
    query: Vectors, candidates: Vectors, positives: Rows, scores: Vectors, error: float
) -> Rows:
    """Ranks `[p]` of one query's positives, from its float32 scores `[n]` and their error bound."""
    exact = _exact_scores(query, candidates, positives)
    # Compared as float32 numbers, which is twice as fast; rounded outwards so that none is missed.
    above = np.nextafter((exact + error).astype(np.float32), np.float32(np.inf))
    below = np.nextafter((exact - error).astype(np.float32), np.float32(-np.inf))
    better = np.array([np.count_nonzero(scores > one) for one in above])
    not_worse = np.array([np.count_nonzero(scores >= one) for one in below])
    ranks = better + 1
    # A positive is always near itself; whoever else is near must be compared exactly.
    unclear = np.flatnonzero(not_worse > ranks)
    if unclear.size == 0:
        return ranks
    compared = np.zeros(len(scores), bool)
    for one in unclear:
        compared |= (scores >= below[one]) & (scores <= above[one])
    near = np.flatnonzero(compared)
    near_scores, near_exact = scores[near], _exact_scores(query, candidates, near)
    for one in unclear:
        ahead = (near_exact == exact[one]) & (near < positives[one])
        ahead |= near_exact > exact[one]
        ranks[one] += np.count_nonzero(ahead & (near_scores <= above[one]))
    return ranks


def _exact_scores(query: Vectors, candidates: Vectors, rows: Rows) -> npt.NDArray[np.float64]:
    """Dot products `[rows]` in float64, each computed by itself and so always the same."""
    scores = np.empty(len(rows))
    wide = query.astype(np.float64)
    for start in range(0, len(rows), REFINE_ROWS):
        part = rows[start : start + REFINE_ROWS]
        # A product of two float32 numbers is exact in float64, and numpy sums every row alike.
        scores[start : start + REFINE_ROWS] = (candidates[part] * wide).sum(axis=1)
    return scores


def _score_blocks(
    queries: Vectors, candidates: Vectors, wanted: Rows, chunk_bytes: int
) -> Iterator[tuple[Rows, Vectors, npt.NDArray[np.float64]]]:
    """Rows of some queries, their scores `[rows, n]` and the error bound of each row's scores."""
    if chunk_bytes < 1:
        raise ValueError(f"`chunk_bytes` must be positive. Received: {chunk_bytes}.")
    longest = max((np.sqrt(part.max()) for part in _squared_norms(candidates)), default=0.0)
    # A dot product of d float32 terms is off by at most d u |x||y|, u = 2^-24 (Higham, 3.1).
    unit = (queries.shape[1] + 4) * 2.0**-24 * longest
    step = max(1, chunk_bytes // max(1, 4 * len(candidates)))
    for start in range(0, len(wanted), step):
        rows = wanted[start : start + step]
        block = queries[rows]
        norms = np.sqrt(np.einsum("ij,ij->i", block, block, dtype=np.float64))
        yield rows, block @ candidates.T, unit * norms


def _squared_norms(vectors: Vectors) -> Iterator[npt.NDArray[np.float64]]:
    for start in range(0, len(vectors), REFINE_ROWS):
        part = vectors[start : start + REFINE_ROWS]
        yield np.einsum("ij,ij->i", part, part, dtype=np.float64)


def _checked(queries: npt.ArrayLike, candidates: npt.ArrayLike) -> tuple[Vectors, Vectors]:
    query = np.ascontiguousarray(queries, dtype=np.float32)
    candidate = np.ascontiguousarray(candidates, dtype=np.float32)
    if query.ndim != 2 or candidate.ndim != 2 or query.shape[1] != candidate.shape[1]:
        raise ValueError(
            "vectors must be matrices [q, d] and [n, d] of one width. Received: shapes "
            f"{query.shape} and {candidate.shape}."
        )
    for name, vectors in (("query_vectors", query), ("candidate_vectors", candidate)):
        row = 0
        for norms in _squared_norms(vectors):
            bad = np.flatnonzero(~np.isfinite(norms))
            if bad.size:
                raise ValueError(
                    f"`{name}` must be finite. Received: row {row + bad[0]} holds NaN or infinity."
                )
            row += len(norms)
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
