"""The sub-batch of a compatibility task: the rows whose candidates have the vector."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from tfrs_sage.losses import num_replicas, sum_over_replicas
from tfrs_sage.types import Tensor


class FixedPairs(NamedTuple):
    """Queries and the vectors that they are trained against.

    Attributes:
        queries: float `[num_present, dim]`, what the query tower gave.
        candidates: float32 `[num_present, width]`, constants.
        query_ids: int64 `[num_present]`.
        candidate_ids: int64 `[num_present]`.
    """

    queries: Tensor
    candidates: Tensor
    query_ids: Tensor
    candidate_ids: Tensor


def rows_where(values: Tensor, present: Tensor) -> Tensor:
    """The rows of `[n, ...]` where `present`, bool `[n]`, holds."""
    # As `tf.boolean_mask`, whose gradient is sparse: slow to add to the dense one of other heads.
    return tf.dynamic_partition(values, tf.cast(present, tf.int32), 2)[1]


def fixed_pairs(pairs: Mapping[str, Any], queries: Tensor, column: str) -> FixedPairs:
    """The pairs of a sub-batch whose candidate has a vector in the column.

    Args:
        pairs: of one task, as in a batch of `RetrievalModel`.
        queries: float `[sub_batch_size, dim]`.
        column: name of the column.
    """
    fixed = pairs["fixed"][column]
    values = (queries, fixed["vectors"], pairs["query_id"], pairs["candidate_id"])
    return FixedPairs(*(rows_where(value, fixed["present"]) for value in values))


def mean_over_replicas(loss: Tensor, num_rows: Tensor) -> Tensor:
    """A replica's part of the mean over all replicas' rows, of which each may have another number.

    Args:
        loss: float32 scalar, the mean over this replica's rows.
        num_rows: float32 scalar, how many they are.

    Returns:
        float32 scalar; the mean of it over the replicas is the mean over all rows.
    """
    share = tf.math.divide_no_nan(num_rows, sum_over_replicas(num_rows))
    return loss * share * num_replicas()
