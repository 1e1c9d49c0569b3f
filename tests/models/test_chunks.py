"""Cached gradients are the gradients of the whole batch."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrs_sage.layers import HashEmbeddingBag
from tfrs_sage.losses import LossConfig
from tfrs_sage.models import RetrievalModel
from tfrs_sage.models.chunks import chunk
from tfrs_sage.models.rows import num_rows
from tfrs_sage.schema.features import EntitySpec
from tfrs_sage.towers import EntityTower, EntityTowerConfig, QueryTower, build_backbone
from tfrs_sage.towers.config import QueryTowerConfig

DIM, VOCABULARY = 16, 200
CLICK, SAVE = "search/product/click", "product/product/save"


def products(rng, rows):
    lengths = rng.integers(0, 6, size=(rows, 2))
    lengths[:, 0] = np.maximum(lengths[:, 0], 1)
    return {
        "text_tokens": tf.constant(rng.integers(1, VOCABULARY, lengths.sum()), tf.int32),
        "text_lengths": tf.constant(lengths, tf.int32),
        "images": tf.constant(rng.normal(size=(rows, 2, 256)), tf.float32),
        "num_images": tf.constant(rng.integers(0, 3, rows), tf.int32),
        "vectors": {"graph_embedding": tf.constant(rng.normal(size=(rows, 8)), tf.float32)},
        "vector_present": {"graph_embedding": tf.constant(rng.random(rows) < 0.5)},
    }


def queries(rng, rows):
    lengths = rng.integers(2, 9, rows)
    return {
        "token_ids": tf.constant(rng.integers(1, 50, (rows, 8)), tf.int32),
        "padding_mask": tf.constant(np.arange(8)[None, :] < lengths[:, None]),
    }


def ids(rng, rows):
    return tf.constant(rng.integers(0, 10, rows), tf.int64)


def fixed(rng, rows):
    """Vectors of a column, narrower than the towers' embeddings; some rows have none."""
    vectors = rng.normal(size=(rows, DIM // 2))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    present = rng.random(rows) < 0.7
    return {"old_embedding": {"vectors": tf.constant(vectors, tf.float32), "present": present}}


def make_batch(seed=0):
    rng, others = np.random.default_rng(seed), np.random.default_rng(seed + 1)
    return {
        "pairs": {
            CLICK: {
                "query": queries(rng, 7),
                "candidate": products(rng, 7),
                "query_id": ids(rng, 7),
                "candidate_id": ids(rng, 7),
                "negative": products(rng, 7),
                "negative_id": tf.constant([20, -1, 21, 22, -1, 23, 24], tf.int64),
                "fixed": fixed(others, 7),
            },
            SAVE: {
                "query": products(rng, 4),
                "candidate": products(rng, 4),
                "query_id": ids(rng, 4),
                "candidate_id": ids(rng, 4),
            },
        },
        "random": {
            "product": {"features": products(rng, 5), "id": ids(rng, 5), "fixed": fixed(others, 5)}
        },
    }


def make_model(num_chunks=1, dropout=0.0, compatibility=None, **loss):
    keras.utils.set_random_seed(3)
    config = QueryTowerConfig(
        num_layers=1, hidden_dim=16, intermediate_dim=16, num_heads=2, dropout=dropout
    )
    query = QueryTower(build_backbone(config, 50), config, DIM, name="query")
    bag = HashEmbeddingBag(VOCABULARY, dim=8, table_size=32)
    spec = EntitySpec("product", ("title", "brand"), 20, {"graph_embedding": 8})
    sizes = {"hidden_dim": 16, "num_heads": 2, "intermediate_dim": 16, "head_dim": 16}
    product = EntityTower(
        spec, EntityTowerConfig(text_dim=8, **sizes), DIM, bag, None, name="product"
    )
    model = RetrievalModel(
        {"query": query, "product": product},
        [CLICK, SAVE],
        LossConfig(sketch_width=256, **loss),
        {SAVE: 2.0},
        num_chunks,
        compatibility,
    )
    model.build()
    model.compile(optimizer=keras.optimizers.SGD(0.1), jit_compile=False)
    return model


def gradients(model, batch):
    if model.num_chunks > 1:
        return tf.function(model.chunked_gradients, autograph=False)(batch)
    with tf.GradientTape() as tape:
        loss = model.compute_loss(x=batch, y_pred=model(batch, training=True))
    return loss, tape.gradient(loss, [v.value for v in model.trainable_weights])


@pytest.mark.parametrize("num_chunks", [2, 3])
@pytest.mark.parametrize(
    "loss",
    [
        {},
        {
            "prefix_weights": {4: 0.5, 16: 1.0},
            "compatibility": {"product": ["old_embedding"]},
            "reduction": "mean",
        },
    ],
)
def test_equal_to_the_gradient_of_the_whole_batch(num_chunks, loss) -> None:
    batch = make_batch()
    plain_model, chunked_model = make_model(**loss), make_model(num_chunks, **loss)
    plain_loss, plain = gradients(plain_model, batch)
    chunked_loss, chunked = gradients(chunked_model, batch)
    assert float(chunked_loss) == pytest.approx(float(plain_loss), abs=1e-5)
    for variable, one, other in zip(plain_model.trainable_weights, plain, chunked, strict=True):
        if one is None or other is None:
            assert one is None and other is None, variable.path
            continue
        assert isinstance(one, tf.IndexedSlices) == isinstance(other, tf.IndexedSlices)
        one, other = (np.asarray(tf.convert_to_tensor(value)) for value in (one, other))
        largest = max(1.0, np.abs(one).max())  # sums of float32: to 1e-5 of the largest entry
        np.testing.assert_allclose(other, one, atol=1e-5 * largest, err_msg=variable.path)


def test_dropout_is_drawn_alike_in_both_passes() -> None:
    """With dropout the loss of the first pass must be that of which the gradient is taken."""
    batch = make_batch()
    model = make_model(num_chunks=2, dropout=0.5)
    state = [np.array(v) for v in model.non_trainable_variables]
    _, found = gradients(model, batch)
    weight = model.towers["query"].head.kernel
    index = [v is weight for v in model.trainable_weights].index(True)
    direction = np.random.default_rng(1).normal(size=weight.shape).astype(np.float32)
    losses = []
    for sign in (1.0, -1.0):
        for variable, value in zip(model.non_trainable_variables, state, strict=True):
            variable.assign(value)
        weight.assign_add(sign * 1e-2 * direction)
        losses.append(float(tf.function(model.chunked_gradients, autograph=False)(batch)[0]))
        weight.assign_sub(sign * 1e-2 * direction)
    slope = (losses[0] - losses[1]) / 2e-2
    assert slope == pytest.approx(float(np.sum(found[index] * direction)), rel=2e-2)


def test_chunks_are_all_rows_once() -> None:
    features = {"product": products(np.random.default_rng(0), 7)}
    parts = [chunk(features, i, 3)["product"] for i in range(3)]
    assert [int(num_rows(part)) for part in parts] == [2, 2, 3]
    for key in ("text_tokens", "text_lengths", "images", "num_images"):
        joined = tf.concat([part[key] for part in parts], axis=0)
        np.testing.assert_array_equal(joined, features["product"][key])


def test_training_with_chunks_learns_as_without() -> None:
    plain, chunked = make_model(), make_model(num_chunks=3)
    data = tf.data.Dataset.from_tensors(make_batch()).repeat(4)
    histories = [model.fit(data, verbose=0, shuffle=False).history for model in (plain, chunked)]
    for key, values in histories[0].items():
        np.testing.assert_allclose(histories[1][key], values, rtol=1e-4, err_msg=key)
