"""The model over toy towers whose answers can be worked out."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrs_sage.losses import LossConfig, Negatives, retrieval_losses
from tfrs_sage.models import RetrievalModel

CLICK, SAVE = "search/product/click", "product/product/save"


class Lookup(keras.layers.Layer):
    """Rows of a table by number, normalised; counts how often it runs."""

    def __init__(self, name):
        super().__init__(name=name)
        self.calls = 0

    def build(self, shape=None):
        self.table = self.add_weight(shape=(20, 4), name="rows", initializer="random_normal")
        self.built = True

    def call(self, features, training=False):
        self.calls += 1
        return tf.math.l2_normalize(tf.gather(self.table.value, features["row"]), axis=1)


def rows(*numbers):
    return {"row": tf.constant(numbers)}


def make_model(**settings):
    keras.utils.set_random_seed(0)
    towers = {"query": Lookup("query"), "product": Lookup("product")}
    model = RetrievalModel(
        towers, [CLICK, SAVE], LossConfig(sketch_width=256, **settings), {SAVE: 3.0}
    )
    model.build()
    return model


@pytest.fixture
def batch():
    return {
        "pairs": {
            CLICK: {
                "query": rows(0, 1, 2),
                "query_id": tf.constant([100, 101, 102], tf.int64),
                "candidate": rows(5, 6, 7),
                "candidate_id": tf.constant([5, 6, 7], tf.int64),
            },
            SAVE: {
                "query": rows(8, 9),
                "query_id": tf.constant([8, 9], tf.int64),
                "candidate": rows(9, 8),
                "candidate_id": tf.constant([9, 8], tf.int64),
            },
        },
        "random": {"product": {"features": rows(1, 2, 3), "id": tf.constant([1, 2, 3], tf.int64)}},
    }


def test_one_call_of_a_tower_a_step(batch) -> None:
    model = make_model()
    embedded = model(batch)
    assert model.towers["product"].calls == 1
    table = np.asarray(model.towers["product"].table)
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    np.testing.assert_allclose(embedded["pairs"][CLICK]["candidate"], unit[[5, 6, 7]], atol=1e-6)
    np.testing.assert_allclose(embedded["pairs"][SAVE]["query"], unit[[8, 9]], atol=1e-6)
    np.testing.assert_allclose(embedded["random"]["product"], unit[[1, 2, 3]], atol=1e-6)


def test_loss_is_the_weighted_sum_over_tasks_of_their_own_sub_batches(batch) -> None:
    model = make_model(correct_positives=False, correct_negatives=False)
    embedded = model(batch)
    total = float(model.compute_loss(x=batch, y_pred=embedded))
    expected = 0.0
    random = Negatives(embedded["random"]["product"], batch["random"]["product"]["id"])
    for task, weight in ((CLICK, 1.0), (SAVE, 3.0)):
        pairs, side = batch["pairs"][task], embedded["pairs"][task]
        ids = pairs["query_id"], pairs["candidate_id"]
        in_batch = Negatives(side["candidate"], ids[1], ids[0])
        terms = retrieval_losses(
            "mixed_sum", side["query"], side["candidate"], *ids, model.log_scale, in_batch, random
        )
        expected += weight * float(sum(terms.values()))
    assert total == pytest.approx(expected, rel=1e-5)
    shown = {metric.name: float(metric.result()) for metric in model.metrics}
    assert shown[f"{SAVE}/loss"] * 3 + shown[f"{CLICK}/loss"] == pytest.approx(total, rel=1e-5)


def test_training_counts_and_evaluation_does_not(batch) -> None:
    model = make_model()
    model.compute_loss(x=batch, y_pred=model(batch), training=True)
    model.compute_loss(x=batch, y_pred=model(batch), training=False)
    assert int(model.sketches[CLICK].queries.total) == 3
    assert int(model.random_sketches["product"].total) == 3


def test_a_planted_matching_is_learned(batch) -> None:
    model = make_model()
    model.compile(optimizer=keras.optimizers.Adam(0.05), jit_compile=False)
    data = tf.data.Dataset.from_tensors(batch).repeat()
    model.fit(data, steps_per_epoch=60, verbose=0, shuffle=False)
    embedded = model(batch)["pairs"][CLICK]
    scores = embedded["query"].numpy() @ embedded["candidate"].numpy().T
    np.testing.assert_array_equal(scores.argmax(axis=1), [0, 1, 2])


def test_temperature_is_clamped(batch) -> None:
    model = make_model(max_scale=20.0)
    model.compile(optimizer=keras.optimizers.Adam(1.0), jit_compile=False)
    model.fit(tf.data.Dataset.from_tensors(batch).repeat(), steps_per_epoch=20, verbose=0)
    assert float(model.log_scale) <= np.log(20.0) + 1e-6


def test_a_task_without_a_tower() -> None:
    with pytest.raises(ValueError, match=r"no tower of \['pin'\]"):
        RetrievalModel({"query": Lookup("query")}, ["search/pin/click"])
