"""The shared MLP against its formula."""

import keras
import numpy as np
import pytest

from tfrs_sage.layers import SharedMLP

WIDTHS = {"text": 3, "graph_embedding": 2}
PARTS = {
    name: np.random.default_rng(i).normal(size=(4, width)).astype(np.float32)
    for i, (name, width) in enumerate(WIDTHS.items())
}


def make(**settings):
    keras.utils.set_random_seed(0)
    layer = SharedMLP(WIDTHS, (8, 6), 5, **settings)
    layer.build()
    # LayerNorm's own weights must count.
    layer.set_weights([w + np.random.normal(0, 0.3, w.shape) for w in layer.get_weights()])
    return layer


def by_hand(layer, vectors):
    for dense, norm in zip(layer.hidden, layer.norms, strict=True):
        vectors = np.maximum(vectors @ np.array(dense.kernel) + np.array(dense.bias), 0.0)
        centred = vectors - vectors.mean(axis=1, keepdims=True)
        vectors = centred / np.sqrt(vectors.var(axis=1, keepdims=True) + 1e-5)
        vectors = vectors * np.array(norm.gamma) + np.array(norm.beta)
    return vectors @ np.array(layer.head.kernel) + np.array(layer.head.bias)


def test_relu_then_layer_norm_after_all_but_the_last() -> None:
    layer = make()
    expected = by_hand(layer, np.concatenate([PARTS["text"], PARTS["graph_embedding"]], axis=1))
    np.testing.assert_allclose(layer(PARTS), expected, atol=1e-5)


def test_what_is_left_out_is_zeros_in_its_own_place() -> None:
    layer = make()
    for name in WIDTHS:
        given = {name: PARTS[name]}
        zeros = {other: np.zeros_like(value) for other, value in PARTS.items() if other != name}
        np.testing.assert_allclose(layer(given), layer({**zeros, **given}), atol=1e-6)


def test_another_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must be of text, graph_embedding\. Received: images"):
        make()({"images": PARTS["text"]})


def test_config_round_trip() -> None:
    layer = make(zero_start=True)
    again = SharedMLP.from_config(layer.get_config())
    again.build()
    assert not np.array(again.head.kernel).any()
    again.set_weights(layer.get_weights())
    np.testing.assert_allclose(again(PARTS), layer(PARTS), atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_ends_in_float32(policy) -> None:
    layer = make(dtype=policy)
    output = layer(PARTS)
    assert output.dtype == "float32" and layer.hidden[0].compute_dtype == policy[6:]
    np.testing.assert_allclose(output, make()(PARTS), atol=0.1)
