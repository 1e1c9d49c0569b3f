"""Compatibility tasks: the query against vectors that no tower makes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.test_retrieval import CLICK, SAVE, Lookup, batch, make_model, rows  # noqa: F401
from tfrs_sage.losses import LossConfig
from tfrs_sage.models import RetrievalModel

FIXED = f"{CLICK}@old_embedding"
PLAIN = {"correct_positives": False, "correct_negatives": False}


def unit(values):
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def make(weights=None, **loss):
    keras.utils.set_random_seed(0)
    towers = {"query": Lookup("query"), "product": Lookup("product")}
    config = LossConfig(sketch_width=256, **loss)
    compatibility = {"product": ["old_embedding"]}
    model = RetrievalModel(towers, [CLICK, SAVE], config, weights, 1, compatibility)
    model.build()
    return model


def with_fixed(batch, present, random_present=(True, True, False)):  # noqa: F811
    rng = np.random.default_rng(0)
    click, random = batch["pairs"][CLICK], batch["random"]["product"]
    for part, there in ((click, present), (random, random_present)):
        vectors = unit(rng.normal(size=(len(there), 2))).astype(np.float32)
        vectors[~np.array(there)] = np.nan  # must not reach the loss
        part["fixed"] = {"old_embedding": {"vectors": tf.constant(vectors), "present": there}}
        part["fixed"]["old_embedding"]["present"] = tf.constant(there)
    return batch


def loss_of(model, batch, **settings):  # noqa: F811
    return float(model.compute_loss(x=batch, y_pred=model(batch), **settings))


def metric(model, name):
    return float(next(one for one in model.metrics if one.name == name).result())


def test_loss_by_hand_over_the_rows_that_have_the_vector(batch) -> None:  # noqa: F811
    """Rows 0 and 2 of three, random rows 1 and 2 of three; the query's first two of 4 numbers."""
    model = make(**PLAIN)
    batch = with_fixed(batch, [True, False, True])
    loss_of(model, batch)
    query = unit(np.asarray(model.towers["query"].table)[[0, 2]])
    query = unit(query[:, :2])
    fixed = batch["pairs"][CLICK]["fixed"]["old_embedding"]["vectors"].numpy()[[0, 2]]
    random = batch["random"]["product"]["fixed"]["old_embedding"]["vectors"].numpy()[:2]
    scale = np.exp(float(model.log_scale))
    expected = 0.0
    for row in (0, 1):
        positive = scale * query[row] @ fixed[row]
        for negatives in (fixed[1 - row : 2 - row], random):
            logits = np.append(scale * negatives @ query[row], positive)
            expected += 0.5 * (np.log(np.exp(logits).sum()) - positive)
    assert metric(model, f"{FIXED}/loss") == pytest.approx(expected, rel=1e-5)


def test_it_is_one_more_term_of_the_sum_or_the_mean(batch) -> None:  # noqa: F811
    batch = with_fixed(batch, [True, False, True])
    total = loss_of(make(weights={FIXED: 0.5}, **PLAIN), batch)
    model = make(weights={FIXED: 0.5}, reduction="mean", **PLAIN)
    mean = loss_of(model, batch)
    parts = [metric(model, f"{name}/loss") for name in (CLICK, SAVE, FIXED)]
    assert mean == pytest.approx((parts[0] + parts[1] + 0.5 * parts[2]) / 3, rel=1e-5)
    assert total == pytest.approx(3 * mean, rel=1e-5)


@pytest.mark.parametrize("mode", ["in_batch", "mixed_sum", "mixed_concat"])
def test_a_batch_without_the_vectors_is_as_if_there_were_no_such_task(batch, mode) -> None:  # noqa: F811
    batch = with_fixed(batch, [False] * 3, [False] * 3)
    model, without = make(reduction="mean", mode=mode), make_model(reduction="mean", mode=mode)
    without.task_weights[SAVE] = 1.0
    for one in without.towers:
        model.towers[one].table.assign(without.towers[one].table)
    with tf.GradientTape() as tape:
        loss = model.compute_loss(x=batch, y_pred=model(batch))
    assert float(loss) == pytest.approx(loss_of(without, batch), rel=1e-6)
    (gradient,) = tape.gradient(loss, [model.towers["query"].table.value])
    assert np.isfinite(tf.convert_to_tensor(gradient).numpy()).all()


def test_the_gradient_reaches_the_query_tower_alone(batch) -> None:  # noqa: F811
    model = make(weights={CLICK: 0.0, SAVE: 0.0})
    batch = with_fixed(batch, [True, False, True])
    with tf.GradientTape() as tape:
        loss = model.compute_loss(x=batch, y_pred=model(batch))
    tables = [model.towers[name].table.value for name in ("query", "product")]
    query, product = (np.asarray(tf.convert_to_tensor(one)) for one in tape.gradient(loss, tables))
    assert (np.abs(query).max(axis=1) > 0).nonzero()[0].tolist() == [0, 2]
    assert not product.any()
    assert model.towers["product"].calls == 1  # for its own tasks, once a step


def test_counts_are_of_its_own_rows(batch) -> None:  # noqa: F811
    """Row 1 has no vector: its query and its pair are not counted for this task."""
    model = make()
    batch = with_fixed(batch, [True, False, True])
    loss_of(model, batch)
    sketch = model.sketches[FIXED]
    assert sketch.queries(tf.constant([100, 101, 102], tf.int64)).numpy().tolist() == [1, 0, 1]
    assert int(sketch.positives.total) == 2
    assert int(model.fixed_sketches["product@old_embedding"].total) == 2
    assert int(model.random_sketches["product"].total) == 3
    before = loss_of(model, batch, training=False)
    assert int(sketch.pairs.total) == 2 and np.isfinite(before)


def test_only_text_queries_have_such_tasks() -> None:
    assert [str(one) for one in make().compatibility] == [FIXED]
