"""Equivalences and consequences of the loss, beside the golden numbers."""

import numpy as np
import pytest
import tensorflow as tf

from tfrs_sage.losses import Negatives, false_negative_mask, log_q, retrieval_losses, softmax_loss

LOG_SCALE = float(-np.log(0.07))


def unit(rng, *shape):
    vectors = rng.normal(size=shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return {
        "query": unit(rng, 6, 8),
        "positive": unit(rng, 6, 8),
        "negatives": unit(rng, 10, 8),
        "query_ids": np.arange(6, dtype=np.int64),
        "positive_ids": np.arange(6, dtype=np.int64),
        "negative_ids": np.arange(100, 110, dtype=np.int64),
    }


def nothing(rows, columns):
    return np.zeros((rows, columns), bool)


def test_softmax_by_hand() -> None:
    # q.p = 1, q.n = 0, scale 1, no corrections: loss = -log(e / (e + 1)) = log(1 + 1/e).
    query = positive = np.array([[1.0, 0.0]], np.float32)
    negatives = Negatives(np.array([[0.0, 1.0]], np.float32), np.array([9], np.int64))
    loss = softmax_loss(query, positive, negatives, nothing(1, 1), 0.0)
    assert float(loss) == pytest.approx(np.log1p(np.exp(-1.0)), abs=1e-6)


def test_log_q_by_hand() -> None:
    # 3 negatives, one id seen 2 of 8 times: 3 * 2 / 8 of it are expected among them.
    np.testing.assert_allclose(log_q([2, 8, 1], 8), np.log([0.75, 3.0, 0.375]), atol=1e-6)


def test_correction_has_the_papers_sign(data) -> None:
    """A popular negative must be pushed down less than a rare one, not more."""
    query = tf.constant(data["query"])
    negatives = tf.Variable(np.repeat(data["negatives"][:1], 2, axis=0))
    with tf.GradientTape() as tape:
        candidates = Negatives(negatives, np.array([1, 2], np.int64), None, [90.0, 10.0], 100.0)
        loss = softmax_loss(query, data["positive"], candidates, nothing(6, 2), LOG_SCALE)
    popular, rare = np.linalg.norm(tf.convert_to_tensor(tape.gradient(loss, negatives)), axis=1)
    assert popular * 8.9 < rare < popular * 9.1  # 90 / 10 times


def test_masked_equals_removed(data) -> None:
    mask = nothing(6, 10)
    mask[:, 3] = True
    kept = [i for i in range(10) if i != 3]
    masked = softmax_loss(
        data["query"],
        data["positive"],
        Negatives(data["negatives"], data["negative_ids"]),
        mask,
        0.0,
    )
    removed = softmax_loss(
        data["query"],
        data["positive"],
        Negatives(data["negatives"][kept], data["negative_ids"][kept]),
        nothing(6, 9),
        0.0,
    )
    np.testing.assert_allclose(masked, removed, rtol=1e-6)


def test_masked_candidate_gets_no_gradient(data) -> None:
    negatives = tf.Variable(data["negatives"])
    mask = nothing(6, 10)
    mask[:, 3] = True
    with tf.GradientTape() as tape:
        loss = softmax_loss(
            data["query"],
            data["positive"],
            Negatives(negatives, data["negative_ids"]),
            mask,
            LOG_SCALE,
        )
    norms = np.linalg.norm(tf.convert_to_tensor(tape.gradient(loss, negatives)), axis=1)
    assert norms[3] == 0.0
    assert (np.delete(norms, 3) > 0).all()


def test_uniform_counts_change_nothing_but_a_constant(data) -> None:
    """With equal counts whose expected number is 1 each, log Q is 0: no correction."""
    plain = Negatives(data["negatives"], data["negative_ids"])
    uniform = plain._replace(counts=np.full(10, 5.0, np.float32), total=50.0)
    arguments = (data["query"], data["positive"])
    np.testing.assert_allclose(
        softmax_loss(*arguments, plain, nothing(6, 10), LOG_SCALE),
        softmax_loss(*arguments, uniform, nothing(6, 10), LOG_SCALE),
        rtol=1e-6,
    )


def test_all_candidates_once_is_the_full_softmax(data) -> None:
    rng = np.random.default_rng(1)
    corpus = unit(rng, 50, 8)
    labels = rng.integers(0, 50, 6)
    ids = np.arange(50, dtype=np.int64)
    mask = false_negative_mask(ids[:6], labels.astype(np.int64), Negatives(corpus, ids))
    sampled = softmax_loss(data["query"], corpus[labels], Negatives(corpus, ids), mask, LOG_SCALE)
    logits = data["query"] @ corpus.T / 0.07
    full = np.log(np.exp(logits).sum(1)) - logits[np.arange(6), labels]
    np.testing.assert_allclose(sampled, full.mean(), rtol=1e-5)


def test_corrected_estimate_converges_and_uncorrected_does_not() -> None:
    """Negatives from a skewed stream: only the corrected partition sum is that of the corpus."""
    rng = np.random.default_rng(2)
    corpus, query = unit(rng, 40, 8), unit(rng, 1, 8)
    counts = np.round(1000 / np.arange(1, 41)).astype(np.float32)
    drawn = np.repeat(np.arange(40), counts.astype(int))  # every candidate as often as it is seen
    positive = unit(rng, 1, 8)
    logits = query @ corpus.T  # scale 1
    full = np.log(np.exp(query @ positive.T) + np.exp(logits).sum()) - query @ positive.T
    candidates = Negatives(corpus[drawn], drawn.astype(np.int64))
    corrected = candidates._replace(counts=counts[drawn], total=counts.sum())
    mask = nothing(1, len(drawn))
    loss = float(softmax_loss(query, positive, corrected, mask, 0.0))
    assert loss == pytest.approx(full.item(), abs=1e-4)
    assert abs(float(softmax_loss(query, positive, candidates, mask, 0.0)) - full.item()) > 1.0


def test_same_query_positives_are_no_negatives() -> None:
    candidates = Negatives(None, np.array([10, 11, 12]), np.array([1, 1, 2]))
    mask = false_negative_mask(np.array([1, 1, 2]), np.array([10, 11, 12]), candidates)
    expected = [[True, True, False], [True, True, False], [False, False, True]]
    np.testing.assert_array_equal(mask, expected)


def test_weights_are_normalised(data) -> None:
    arguments = (
        data["query"],
        data["positive"],
        Negatives(data["negatives"], data["negative_ids"]),
    )
    weights = np.array([1, 0, 0, 0, 0, 0], np.float32)
    one = softmax_loss(
        data["query"][:1], data["positive"][:1], arguments[2], nothing(1, 10), LOG_SCALE
    )
    for scale in (1.0, 7.0):
        loss = softmax_loss(
            *arguments, nothing(6, 10), LOG_SCALE, weights=weights * np.float32(scale)
        )
        np.testing.assert_allclose(loss, one, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_low_precision_embeddings_are_scored_in_float32(data, dtype) -> None:
    cast = {k: tf.cast(data[k], dtype) for k in ("query", "positive", "negatives")}
    loss = softmax_loss(
        cast["query"],
        cast["positive"],
        Negatives(cast["negatives"], data["negative_ids"]),
        np.eye(6, 10, dtype=bool),
        LOG_SCALE,
    )
    assert loss.dtype == tf.float32
    assert np.isfinite(loss)


def test_unknown_mode(data) -> None:
    arguments = ("query", "positive", "query_ids", "positive_ids")
    with pytest.raises(ValueError, match=r"must be one of .*mixed_sum.* Received: 'mixed'"):
        retrieval_losses("mixed", *(data[name] for name in arguments), 0.0, None)
    with pytest.raises(ValueError, match="needed in mode 'random'"):
        retrieval_losses("random", *(data[name] for name in arguments), 0.0, None)
