"""What the head adds to the softmax: prefixes, mined negatives, the cap, what it reports."""

import numpy as np
import pytest
import tensorflow as tf

from tfrs_sage.losses import LossConfig
from tfrs_sage.tasks import FrequencySketches, SampledSoftmaxRetrieval

LOG_SCALE = 2.0
QUERY_IDS = np.array([1, 2, 3, 1])  # rows 0 and 3 are one query's
POSITIVE_IDS = np.array([10, 20, 30, 40])


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def vectors():
    rng = np.random.default_rng(0)
    return [unit(rng.normal(size=(4, 8))).astype(np.float32) for _ in range(3)]


def run(vectors, own=None, **settings):
    config = LossConfig(
        mode="in_batch", correct_positives=False, correct_negatives=False, sketch_width=64
    ).model_copy(update=settings)
    head = SampledSoftmaxRetrieval(config, FrequencySketches(config, "sketches"), "a/b")
    query, positive = (tf.constant(value) for value in vectors[:2])
    ids = (tf.constant(value, tf.int64) for value in (QUERY_IDS, POSITIVE_IDS))
    terms = head(query, positive, *ids, tf.constant(LOG_SCALE), None, own)
    return {name: float(value) for name, value in terms.items()}


def logits_of(query, positive, columns=slice(None)):
    """Scaled scores `[4, n]`; what is true but not the row's own is left out."""
    scores = query @ positive.T * np.exp(LOG_SCALE)
    scores[(QUERY_IDS[:, None] == QUERY_IDS[None, :]) & ~np.eye(4, dtype=bool)] = -np.inf
    return scores[:, columns]


def cross_entropy(positive, negatives):
    """Mean loss of `[n]` positive logits against `[n, m]` negative ones."""
    everything = np.concatenate([positive[:, None], negatives], axis=1)
    return float(np.mean(np.log(np.exp(everything).sum(axis=1)) - positive))


def others(scores):
    """The scores without the diagonal, which is the positive."""
    return np.where(np.eye(4, dtype=bool), -np.inf, scores)


def test_prefixes_are_weighted_losses_of_cut_embeddings(vectors) -> None:
    terms = run(vectors, prefix_weights={2: 0.05, 4: 0.5, 8: 1.0, 16: 9.0})
    for width, weight in {2: 0.05, 4: 0.5, 8: 1.0}.items():
        scores = logits_of(*(unit(value[:, :width]) for value in vectors[:2]))
        expected = weight * cross_entropy(np.diag(scores), others(scores))
        assert terms[f"in_batch@{width}"] == pytest.approx(expected, rel=1e-5)
    assert not any(name.endswith("@16") for name in terms), "wider than the candidates: skipped"


def test_a_mined_negative_is_one_more_column_of_its_own_row(vectors) -> None:
    from tfrs_sage.losses import OwnNegatives

    query, positive, hard = vectors
    present = np.array([True, False, True, True])
    found = run(vectors, OwnNegatives(tf.constant(hard), tf.constant(present)))["in_batch@8"]
    scores = logits_of(query, positive)
    own = np.where(present, np.sum(query * hard, axis=1) * np.exp(LOG_SCALE), -np.inf)
    columns = np.concatenate([others(scores), own[:, None]], axis=1)
    assert found == pytest.approx(cross_entropy(np.diag(scores), columns), rel=1e-5)
    absent = OwnNegatives(tf.constant(hard), tf.zeros(4, tf.bool))
    assert run(vectors, absent)["in_batch@8"] == pytest.approx(run(vectors)["in_batch@8"])


def test_the_cap_takes_the_first_candidates(vectors) -> None:
    scores = logits_of(*vectors[:2])
    expected = cross_entropy(np.diag(scores), others(scores)[:, :2])
    assert run(vectors, max_in_batch_negatives=2)["in_batch@8"] == pytest.approx(expected, rel=1e-5)


def test_log_q_of_capped_negatives_counts_those_left(vectors) -> None:
    """Every id was seen once in four: the expected number among two is a half."""
    found = run(vectors, max_in_batch_negatives=2, correct_negatives=True)["in_batch@8"]
    scores = logits_of(*vectors[:2])
    columns = others(scores)[:, :2] - np.log(1 / 4 * 2)
    assert found == pytest.approx(cross_entropy(np.diag(scores), columns), rel=1e-5)


def test_masked_share_by_hand(vectors) -> None:
    """Twelve pairs of a row and another's positive; rows 0 and 3 mask each other's."""
    assert run(vectors)["masked"] == pytest.approx(2 / 12)
