import keras
import keras_hub
import numpy as np
import pytest

from tfrs_sage.layers import FeatureTransformer
from tfrs_sage.layers.read_out_block import ReadOutBlock


@pytest.fixture
def layer():
    keras.utils.set_random_seed(0)
    return FeatureTransformer(hidden_dim=8, num_heads=2, intermediate_dim=16)


FEATURES = np.random.default_rng(0).normal(size=(3, 5, 8)).astype(np.float32)


def test_masked_equals_removed(layer) -> None:
    mask = np.array([[True, True, True, False, False]] * 3)
    np.testing.assert_allclose(
        layer(FEATURES, mask), layer(FEATURES[:, :3], mask[:, :3]), atol=1e-5
    )


def test_features_are_a_set(layer) -> None:
    order = [4, 2, 0, 1, 3]
    mask = np.array([[True, False, True, True, False]] * 3)
    np.testing.assert_allclose(
        layer(FEATURES, mask), layer(FEATURES[:, order], mask[:, order]), atol=1e-5
    )


def test_no_feature_is_what_cls_alone_gives(layer) -> None:
    output = np.asarray(layer(FEATURES, np.zeros((3, 5), bool)))
    assert np.isfinite(output).all()
    np.testing.assert_allclose(output[0], output[1], atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy) -> None:
    layer = FeatureTransformer(8, 2, intermediate_dim=16, dtype=policy)
    output = layer(FEATURES, np.ones((3, 5), bool))
    assert output.dtype == policy.removeprefix("mixed_")
    assert layer.cls.dtype == "float32"


@pytest.mark.parametrize("num_layers", [1, 2])
def test_equal_to_whole_blocks_read_at_the_first_token(num_layers) -> None:
    """The oracle: keras-hub's blocks over all tokens, with the same weights."""
    keras.utils.set_random_seed(1)
    layer = FeatureTransformer(8, 2, num_layers=num_layers, intermediate_dim=16)
    mask = np.array([[True] * 5, [False, True, True, False, True], [False] * 5])
    layer(FEATURES, mask)
    layer.set_weights([w + np.random.normal(0, 0.3, w.shape) for w in layer.get_weights()])
    output = layer(FEATURES, mask)
    cls = np.broadcast_to(layer.cls.numpy(), (3, 1, 8))
    sequence = np.concatenate([cls, FEATURES], axis=1)
    present = np.concatenate([np.ones((3, 1), bool), mask], axis=1)
    for block in [*layer.blocks, layer.read_out]:
        whole = keras_hub.layers.TransformerEncoder(16, 2, activation="gelu", normalize_first=True)
        whole.build(sequence.shape)
        assert [w.shape for w in whole.weights] == [w.shape for w in block.weights]
        whole.set_weights(block.get_weights())
        sequence = whole(sequence, padding_mask=present)
    np.testing.assert_allclose(output, layer.norm(sequence)[:, 0], atol=1e-5)


def test_weights_are_named_as_in_keras_hubs_block() -> None:
    whole = keras_hub.layers.TransformerEncoder(16, 2, name="block")
    whole.build((None, None, 8))
    block = ReadOutBlock(2, 16, name="block")
    block.build((None, None, 8))
    assert [w.path for w in block.weights] == [w.path for w in whole.weights]


def test_dropout_only_in_training() -> None:
    layer = FeatureTransformer(8, 2, intermediate_dim=16, dropout=0.5)
    mask = np.ones((3, 5), bool)
    quiet = np.asarray(layer(FEATURES, mask))
    np.testing.assert_array_equal(quiet, layer(FEATURES, mask))
    assert not np.allclose(quiet, layer(FEATURES, mask, training=True))


def test_attention_of_cls_worked_out_in_numpy() -> None:
    keras.utils.set_random_seed(2)
    layer = FeatureTransformer(8, 2, intermediate_dim=16)
    mask = np.array([[True] * 5, [False, True, True, False, True], [False] * 5])
    layer(FEATURES, mask)
    layer.set_weights([w + np.random.normal(0, 0.5, w.shape) for w in layer.get_weights()])
    found = np.asarray(layer.cls_attention(FEATURES, mask))
    assert found.shape == (3, 6) and found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-6)
    assert (found[:, 1:][~mask] == 0).all() and found[2, 0] == 1.0
    block = layer.read_out
    tokens = np.concatenate([np.tile(layer.cls.numpy(), (3, 1, 1)), FEATURES], axis=1)
    tokens = np.asarray(block.attention_norm(tokens))
    query, key = (
        np.einsum("bsw,wnd->bsnd", tokens, one.kernel.numpy()) + one.bias.numpy()
        for one in (block.attention.query_dense, block.attention.key_dense)
    )
    logits = np.einsum("bnd,bsnd->bsn", query[:, 0], key) / 2.0  # 4 components a head
    logits[:, 1:][~mask] = -np.inf
    weights = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, weights.mean(axis=2), atol=1e-6)
