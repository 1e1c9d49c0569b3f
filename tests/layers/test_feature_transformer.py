import keras
import numpy as np
import pytest

from tfrs_sage.layers import FeatureTransformer


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
