"""Matryoshka prefixes: the first components of an embedding as an embedding of its own."""

from collections.abc import Mapping

import tensorflow as tf

from tfrs_sage.types import Tensor


def cut(vectors: Tensor, width: int) -> Tensor:
    """The first `width` components, of length one again.

    Kusupati et al., NeurIPS 2022, arXiv 2205.13147; OmniSearchSage (section 3 of its released
    code) trains the widths 16 to 512.

    Args:
        vectors: float `[n, dim]`, L2-normalised.
        width: int, at most `dim`.

    Returns:
        float32 `[n, width]`; the vectors themselves where `width` is `dim`.
    """
    if vectors.shape[-1] == width:
        return vectors
    return tf.math.l2_normalize(tf.cast(vectors[:, :width], tf.float32), axis=1)


def weighted_widths(
    weights: Mapping[int, float] | None, query_dim: int, candidate_dim: int
) -> dict[int, float]:
    """Which prefixes a head trains, and what each counts.

    Args:
        weights: by width, as in the config; None for the whole embedding alone.
        query_dim: int, width of the query's embedding.
        candidate_dim: int, of the candidates': smaller where they come from a fixed tower.

    Returns:
        By width, without those that are wider than the candidates. Candidates that are narrower
        than the query always count as a whole, with weight 1 where the config names no such
        width. Differs from the official code, which leaves them out then: but it is by their
        whole width that an index of them is searched.
    """
    widest = min(query_dim, candidate_dim)
    if weights is None:
        return {widest: 1.0}
    trained = {width: weight for width, weight in sorted(weights.items()) if width <= widest}
    if candidate_dim < query_dim:
        trained.setdefault(candidate_dim, 1.0)
    return trained
