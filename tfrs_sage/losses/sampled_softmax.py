"""Sampled softmax with corrections for how candidates were sampled, as pure functions.

The loss of OmniSearchSage (Agarwal et al., WWW 2024, arXiv 2404.16260, section 3.4), which
extends ItemSage's (Baltescu et al., KDD 2022, arXiv 2205.11728, section 4.2). For a query q with
the positive p and the negatives n, with `s = exp(log_scale)`:

    logit(p) = s q.p - log P(p|q)
    logit(n) = s q.n - log Q(n)
    loss = - log softmax(logits)[p]

`log Q(n)` is *subtracted*: a candidate that is drawn often as a negative would else be pushed
down for being popular. It is the log of the expected number of times that n is among the
negatives: `ln count(n) - ln total + ln(number of negatives)`. `log P(p|q)` takes away from a
query's positive what its frequency alone explains: `ln count(q, p) - ln count(q)`.

Everything here is computed in float32, whatever the dtype of the embeddings.
"""

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

from tfrs_sage.types import Tensor

NEGATIVE_MODES = ("in_batch", "random", "mixed_sum", "mixed_concat")


class Negatives(NamedTuple):
    """Candidates that compete with every row's positive.

    Attributes:
        embeddings: float `[num_negatives, dim]`.
        ids: int64 `[num_negatives]`, to find a row's own positive among them.
        query_ids: int64 `[num_negatives]`, the query that each was a positive of; None for
            random negatives, which belong to no query.
        counts: float32 `[num_negatives]`, how often each id was seen as such a negative; None
            where no correction is wanted.
        total: float32 scalar, how many of them were seen in all.
    """

    embeddings: Tensor
    ids: Tensor
    query_ids: Tensor | None = None
    counts: Tensor | None = None
    total: Tensor | None = None


class OwnNegatives(NamedTuple):
    """A mined negative of each row.

    Attributes:
        embeddings: float `[batch_size, dim]`.
        present: bool `[batch_size]`, False where a row has none.
    """

    embeddings: Tensor
    present: Tensor


def log_q(counts: Tensor, total: Tensor) -> Tensor:
    """Log of the expected number of times that each id is among the negatives.

    Args:
        counts: `[num_negatives]`, times each id was seen, at least 1.
        total: scalar, ids seen in all.

    Returns:
        float32 `[num_negatives]`: `ln count - ln total + ln num_negatives`.
    """
    counts = tf.cast(counts, tf.float32)
    num_negatives = tf.cast(tf.shape(counts)[0], tf.float32)
    return (
        tf.math.log(counts) - tf.math.log(tf.cast(total, tf.float32)) + tf.math.log(num_negatives)
    )


def false_negative_mask(query_ids: Tensor, positive_ids: Tensor, negatives: Negatives) -> Tensor:
    """Which negatives are true for a row: its own positive, or another positive of its query.

    Args:
        query_ids: int64 `[batch_size]`.
        positive_ids: int64 `[batch_size]`.
        negatives: the candidates.

    Returns:
        bool `[batch_size, num_negatives]`, True where the pair must not count as a negative.
    """
    mask = positive_ids[:, None] == negatives.ids[None, :]  # [B, N]
    if negatives.query_ids is not None:
        mask |= query_ids[:, None] == negatives.query_ids[None, :]
    return mask


def mean_of_rows(values: Tensor) -> Tensor:
    """Mean of `[n]` values, 0 where there is none: a batch may lack a compatibility task."""
    return tf.math.divide_no_nan(tf.reduce_sum(values), tf.cast(tf.shape(values)[0], values.dtype))


def softmax_loss(
    query: Tensor,
    positive: Tensor,
    negatives: Negatives,
    mask: Tensor,
    log_scale: Tensor,
    log_p: Tensor | None = None,
    weights: Tensor | None = None,
    own: OwnNegatives | None = None,
) -> Tensor:
    """Cross entropy of the positive against the unmasked negatives.

    Args:
        query: float `[batch_size, dim]`, L2-normalised.
        positive: float `[batch_size, dim]`, L2-normalised.
        negatives: the candidates, embeddings L2-normalised.
        mask: bool `[batch_size, num_negatives]`, True where a candidate is left out: its
            probability is 0 and the rest renormalises.
        log_scale: float scalar, the log of the inverse temperature.
        log_p: float32 `[batch_size]`, log P(p|q); None for no correction.
        weights: float `[batch_size]`, normalised to sum to 1 (L1); None for the mean.
        own: a further negative of each row, for that row alone.

    Returns:
        float32 scalar; 0 where there is no row.
    """
    query, positive = tf.cast(query, tf.float32), tf.cast(positive, tf.float32)
    scale = tf.exp(tf.cast(log_scale, tf.float32))
    positive_logits = tf.reduce_sum(query * positive, axis=1, keepdims=True) * scale  # [B, 1]
    candidates = tf.cast(negatives.embeddings, tf.float32)
    negative_logits = tf.matmul(query, candidates, transpose_b=True) * scale  # [B, N]
    if log_p is not None:
        positive_logits -= tf.cast(log_p, tf.float32)[:, None]
    if negatives.counts is not None:
        negative_logits -= log_q(negatives.counts, negatives.total)[None, :]
    negative_logits = tf.where(mask, negative_logits.dtype.min, negative_logits)
    logits = tf.concat([positive_logits, negative_logits], axis=1)  # [B, 1 + N]
    if own is not None:
        # Chosen for the row, not drawn: it is among the negatives once, and log 1 = 0.
        hard = tf.reduce_sum(query * tf.cast(own.embeddings, tf.float32), axis=1) * scale  # [B]
        hard = tf.where(own.present, hard, hard.dtype.min)
        logits = tf.concat([logits, hard[:, None]], axis=1)
    losses = tf.reduce_logsumexp(logits, axis=1) - positive_logits[:, 0]  # [B]
    if weights is None:
        return mean_of_rows(losses)
    weights = tf.cast(weights, tf.float32)
    return tf.reduce_sum(losses * weights) / tf.reduce_sum(tf.abs(weights))


def concatenate(in_batch: Negatives, random: Negatives) -> Negatives:
    """Both kinds of negatives as one set, for `mixed_concat`: the totals are added."""
    assert in_batch.query_ids is not None
    # -1 is no query's id: random negatives belong to none.
    no_query = -tf.ones_like(random.ids)
    counts = total = None
    if in_batch.counts is not None and random.counts is not None:
        counts = tf.concat([in_batch.counts, random.counts], axis=0)
        total = in_batch.total + random.total  # type: ignore[operator]
    return Negatives(
        embeddings=tf.concat([in_batch.embeddings, random.embeddings], axis=0),
        ids=tf.concat([in_batch.ids, random.ids], axis=0),
        query_ids=tf.concat([in_batch.query_ids, no_query], axis=0),
        counts=counts,
        total=total,
    )


def retrieval_losses(
    mode: str,
    query: Tensor,
    positive: Tensor,
    query_ids: Tensor,
    positive_ids: Tensor,
    log_scale: Tensor,
    in_batch: Negatives,
    random: Negatives | None = None,
    log_p: Tensor | None = None,
    weights: Tensor | None = None,
    own: OwnNegatives | None = None,
) -> Mapping[str, Tensor]:
    """The loss terms of one mode; the loss of the task is their sum.

    Args:
        mode: `in_batch`, `random`, `mixed_sum` (two softmaxes, added; the default of the
            official implementation) or `mixed_concat` (one softmax over both).
        query: float `[batch_size, dim]`.
        positive: float `[batch_size, dim]`.
        query_ids: int64 `[batch_size]`.
        positive_ids: int64 `[batch_size]`.
        log_scale: float scalar.
        in_batch: the positives of the batch as negatives.
        random: random catalogue negatives; needed in every mode but `in_batch`.
        log_p: float32 `[batch_size]` or None, as in `softmax_loss`.
        weights: float `[batch_size]` or None, as in `softmax_loss`.
        own: mined negatives, which join the first softmax.

    Returns:
        float32 scalar of each term, by name.

    Raises:
        ValueError: unknown mode, or no random negatives where the mode needs them.
    """
    if mode not in NEGATIVE_MODES:
        raise ValueError(f"`mode` must be one of {NEGATIVE_MODES}. Received: {mode!r}.")
    if mode == "in_batch":
        terms = {"in_batch": in_batch}
    elif random is None:
        raise ValueError(f"`random` negatives are needed in mode {mode!r}. Received: None.")
    elif mode == "random":
        terms = {"random": random}
    elif mode == "mixed_sum":
        terms = {"in_batch": in_batch, "random": random}
    else:
        terms = {"mixed_concat": concatenate(in_batch, random)}
    return {
        name: softmax_loss(
            query,
            positive,
            negatives,
            false_negative_mask(query_ids, positive_ids, negatives),
            log_scale,
            log_p,
            weights,
            own if i == 0 else None,
        )
        for i, (name, negatives) in enumerate(terms.items())
    }
