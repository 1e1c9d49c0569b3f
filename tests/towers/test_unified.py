"""The unified tower: its formula, what both entities share, the item tower, the title."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.towers.test_entity import SMALL, SPEC, make_features
from tfrs_sage.errors import InputError
from tfrs_sage.layers import HashEmbeddingBag, SharedMLP
from tfrs_sage.schema.features import EntitySpec
from tfrs_sage.towers import (
    EntityTower,
    EntityTowerConfig,
    QueryTower,
    QueryTowerConfig,
    UnifiedTower,
    build_backbone,
    unified_widths,
)

PIN = EntitySpec("pin", ("title",), 2, {"board_embedding": 3}, 10)
DIM = 12


def make(item_tower=False, policy="float32", encoder=None, **settings):
    """The towers of products and pins over one MLP and one table."""
    keras.utils.set_random_seed(1)
    config = EntityTowerConfig(**{**SMALL, "fusion": "unified", "mlp_dims": (32, 32), **settings})
    product = config.model_copy(update={"item_tower": item_tower})
    bag = HashEmbeddingBag(50, dim=8, table_size=31, dtype=policy)
    widths = unified_widths([(PIN, config), (SPEC, product)], DIM)
    mlp = SharedMLP(widths, config.mlp_dims, DIM, zero_start=encoder is not None, dtype=policy)
    item = None
    if item_tower:
        fused = product.model_copy(update={"fusion": "transformer"})
        item = EntityTower(SPEC, fused, DIM, bag, dtype=policy)
    towers = {
        "product": UnifiedTower(SPEC, product, mlp, bag, item, encoder, dtype=policy),
        "pin": UnifiedTower(PIN, config, mlp, bag, None, encoder, dtype=policy),
    }
    for tower in towers.values():
        tower.build()
    return towers


def test_the_union_of_the_inputs_in_a_fixed_order() -> None:
    config = EntityTowerConfig(text_dim=8, fusion="unified")
    expected = {"text": 8, "images": 256, "board_embedding": 3, "graph_embedding": 4}
    for order in ([PIN, SPEC], [SPEC, PIN]):
        found = unified_widths([(spec, config) for spec in order], DIM)
        assert list(found.items()) == list(expected.items())
    without = config.model_copy(update={"use_images": False, "item_tower": True})
    found = unified_widths([(SPEC, without)], DIM)
    assert found == {"text": 8, "graph_embedding": 4, "item_tower": DIM}
    other = EntitySpec("pin", ("title",), 0, {"graph_embedding": 5}, 1)
    with pytest.raises(InputError, match=r"graph_embedding in one width.*'product': 4"):
        unified_widths([(SPEC, config), (other, config)], DIM)


def test_by_hand() -> None:
    """Bags summed, present images averaged, an absent vector zero; then the MLP; length one."""
    tower, features = make()["product"], make_features()
    bags = np.asarray(tower.bag(features["text_tokens"], features["text_lengths"]))
    text = (bags * (features["text_lengths"] > 0)[:, :, None]).sum(axis=1)
    images = np.stack(
        [
            row[:count].mean(axis=0) if count else np.zeros(256)
            for row, count in zip(features["images"], features["num_images"], strict=True)
        ]
    )
    graph = features["vectors"]["graph_embedding"].copy()
    graph[~features["vector_present"]["graph_embedding"]] = 0.0
    parts = {"text": text, "images": images.astype(np.float32), "graph_embedding": graph}
    expected = np.array(tower.mlp(parts))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(tower(features), expected, atol=1e-5)
    assert not features["text_lengths"].all()  # an absent text is among them


def test_a_pin_and_a_product_of_equal_parts_are_one_point() -> None:
    towers, features = make(), make_features()
    title = features["text_lengths"].copy()
    title[:, 1] = 0
    tokens = np.concatenate([np.arange(1, 1 + count) for count in title[:, 0]]).astype(np.int32)
    shared = {
        "text_tokens": tokens,
        "images": features["images"],
        "num_images": features["num_images"],
    }
    absent = np.zeros(4, bool)
    product = {
        **shared,
        "text_lengths": title,
        "vectors": features["vectors"],
        "vector_present": {"graph_embedding": absent},
    }
    pin = {
        **shared,
        "text_lengths": title[:, :1],
        "vectors": {"board_embedding": np.ones((4, 3), np.float32)},
        "vector_present": {"board_embedding": absent},
    }
    ours, theirs = towers["product"](product), towers["pin"](pin)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    present = {**pin, "vector_present": {"board_embedding": ~absent}}
    assert np.abs(np.asarray(towers["pin"](present)) - np.asarray(theirs)).max() > 1e-3
    own = {id(v) for v in towers["pin"].variables}
    assert {id(v) for v in towers["product"].variables} == own


@pytest.mark.parametrize("item_tower", [False, True])
def test_what_is_absent_does_not_count(item_tower) -> None:
    tower, features = make(item_tower)["product"], make_features()
    before = np.asarray(tower(features))
    features["images"][1, 1:] = 99.0
    features["vectors"]["graph_embedding"][1] = np.nan if not item_tower else 99.0
    np.testing.assert_allclose(tower(features), before, atol=1e-5)


def test_the_item_tower_is_one_more_vector_of_products() -> None:
    towers, features = make(item_tower=True), make_features()
    tower = towers["product"]
    before = np.asarray(tower(features))
    # Beside the MLP's inputs nothing else of the item tower reaches the result.
    embedded = tower.item_tower(features)
    tower.item_tower = None
    assert np.abs(np.asarray(tower(features)) - before).max() > 1e-3
    tower.item_tower = lambda features, training: embedded
    np.testing.assert_allclose(tower(features), before, atol=1e-6)
    assert towers["pin"].item_tower is None and tower.mlp.widths["item_tower"] == DIM


def test_begins_where_the_title_encoder_stands() -> None:
    settings = QueryTowerConfig(num_layers=1, hidden_dim=16, num_heads=2, intermediate_dim=32)
    encoder = QueryTower(build_backbone(settings, 40), settings, DIM)
    tower, features = make(encoder=encoder)["product"], make_features()
    title = {
        "token_ids": np.array([[2, 5, 3], [2, 6, 3], [2, 7, 3], [2, 8, 3]], np.int32),
        "padding_mask": np.ones((4, 3), bool),
    }
    embedded = np.asarray(encoder(title))
    np.testing.assert_allclose(tower({**features, "title": title}), embedded, atol=1e-5)
    given = tower({**features, "title_embedding": embedded})
    np.testing.assert_allclose(given, embedded, atol=1e-5)


def test_a_row_without_any_feature_has_an_embedding_to_learn_from() -> None:
    """Else its gradient would be that of normalising zeros, which drowns all others."""
    tower, features = make()["product"], make_features()
    features["text_lengths"] = np.zeros((4, 2), np.int32)
    features["text_tokens"] = np.zeros(0, np.int32)
    features["num_images"] = np.zeros(4, np.int32)
    features["vector_present"]["graph_embedding"] = np.zeros(4, bool)
    with tf.GradientTape() as tape:
        output = tower(features)
        loss = tf.reduce_sum(output[:, 0])
    np.testing.assert_allclose(np.linalg.norm(output, axis=1), 1.0, atol=1e-5)
    gradients = tape.gradient(loss, [v.value for v in tower.mlp.trainable_variables])
    assert float(tf.linalg.global_norm(gradients)) < 1e3


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_ends_in_float32(policy) -> None:
    features = make_features()
    output = make(item_tower=True, policy=policy)["product"](features)
    assert output.dtype == "float32"
    exact = make(item_tower=True)["product"](features)
    assert (np.asarray(output) * np.asarray(exact)).sum(axis=1).min() > 0.99


def test_nothing_to_embed() -> None:
    config = EntityTowerConfig(fusion="unified")
    spec = EntitySpec("pin", (), 0, {}, 3)
    with pytest.raises(ValueError, match=r"must have a feature.*Fill a column of the pins"):
        UnifiedTower(spec, config, SharedMLP({"text": 8}, (4,), DIM), None)
