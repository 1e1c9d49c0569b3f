"""Exact search of a variable in the graph, chunk by chunk."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfrs_sage.types import Tensor

# Scores held at once while candidates are scanned (64 MiB of float32), and the fewest
# candidates a step, so that very large batches still advance.
SCORE_BUDGET = 2**24
MIN_CHUNK = 1024


def exact_top_k(
    score: Callable[[Tensor], Tensor],
    candidates: Tensor,
    scores_per_candidate: Tensor,
    excluded: Tensor,
    k: Tensor,
) -> tuple[Tensor, Tensor]:
    """The `k` best rows of `candidates`, scanned in chunks so that memory stays bounded.

    Args:
        score: `[chunk, d]` candidates -> float32 `[n, chunk]` scores.
        candidates: variable, float32 `[N, d]`.
        scores_per_candidate: int32 `[]`, numbers that `score` holds for each candidate.
        excluded: int32 `[n]`, the row that may not be found for each query; -1 for none.
        k: int32 `[]`, at most N less the excluded ones.

    Returns:
        rows: int32 `[n, k]`, best first, equal scores in row order.
        scores: float32 `[n, k]`.
    """
    count = tf.shape(candidates)[0]
    chunk = tf.maximum(MIN_CHUNK, SCORE_BUDGET // tf.maximum(1, scores_per_candidate))
    num_queries = tf.shape(excluded)[0]

    def step(start: Tensor, best_scores: Tensor, best_rows: Tensor) -> tuple[Tensor, ...]:
        stop = tf.minimum(start + chunk, count)
        rows = tf.range(start, stop)
        scores = score(candidates[start:stop])  # [n, chunk]
        scores = tf.where(rows[tf.newaxis] == excluded[:, tf.newaxis], -np.inf, scores)
        top = tf.math.top_k(scores, tf.minimum(k, stop - start))
        # The best so far come first: among equals top_k takes the first, which is the lower row.
        scores = tf.concat([best_scores, top.values], axis=1)
        rows = tf.concat([best_rows, top.indices + start], axis=1)
        top = tf.math.top_k(scores, tf.minimum(k, tf.shape(scores)[1]))
        return stop, top.values, tf.gather(rows, top.indices, batch_dims=1)

    _, scores, rows = tf.while_loop(
        lambda start, *_: start < count,
        step,
        (tf.constant(0), tf.zeros([num_queries, 0]), tf.zeros([num_queries, 0], tf.int32)),
        shape_invariants=(
            tf.TensorShape([]),
            tf.TensorShape([None, None]),
            tf.TensorShape([None, None]),
        ),
        parallel_iterations=1,  # several chunks in flight would hold several score blocks
    )
    return rows, scores
