"""Blocks of text encoders: found, frozen, and learning at rates of their own."""

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from tfrs_sage.errors import InputError
from tfrs_sage.towers import QueryTower, QueryTowerConfig
from tfrs_sage.towers.backbone import freeze, rate_factors, stages

SIZES = {"vocabulary_size": 30, "num_layers": 3, "hidden_dim": 8, "intermediate_dim": 8}
MODELS = keras_hub.models
BACKBONES = {
    "bert": (MODELS.BertBackbone, {"num_heads": 2}),
    "distil_bert": (MODELS.DistilBertBackbone, {"num_heads": 2}),
    "roberta": (MODELS.RobertaBackbone, {"num_heads": 2}),
    "deberta": (MODELS.DebertaV3Backbone, {"num_heads": 2}),
    "f_net": (MODELS.FNetBackbone, {}),
}


def make(kind="distil_bert"):
    keras.utils.set_random_seed(0)
    build, others = BACKBONES[kind]
    return build(**SIZES, **others)


def run(backbone):
    ids = tf.constant([[3, 4, 5, 0], [6, 7, 8, 9]])
    inputs = {"token_ids": ids, "padding_mask": ids > 0, "segment_ids": tf.zeros_like(ids)}
    taken = {tensor.name for tensor in backbone.inputs}
    output = backbone({name: value for name, value in inputs.items() if name in taken})
    return output["sequence_output"] if isinstance(output, dict) else output


@pytest.mark.parametrize("kind", BACKBONES)
def test_the_backward_pass_ends_above_the_frozen_blocks(kind) -> None:
    """No gradient, not even of weights that the tape is asked for; the same output."""
    backbone = make(kind)
    parts = stages(backbone)
    assert len(parts) == 5 and [len(part) for part in parts[1:4]] == [1, 1, 1]
    expected = np.asarray(run(backbone))
    frozen = freeze(backbone, 2)
    with tf.GradientTape() as tape:
        output = run(frozen)
        loss = tf.reduce_sum(output**3)
    np.testing.assert_allclose(output, expected, atol=1e-6)
    weights = {v.path: v.value for part in parts[:4] for layer in part for v in layer.weights}
    gradients = tape.gradient(loss, weights)
    reached = {path for path, gradient in gradients.items() if gradient is not None}
    assert reached == {v.path for v in parts[3][0].trainable_variables}
    assert {id(v) for v in frozen.trainable_variables} == {
        id(v) for part in parts[3:] for layer in part for v in layer.trainable_variables
    }


def test_more_blocks_than_there_are() -> None:
    assert len(freeze(make(), 3).trainable_variables) == 0
    with pytest.raises(InputError, match=r"0 to 3, the encoder blocks.*Received: 4"):
        freeze(make(), 4)
    plain = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(2, name="only")])
    with pytest.raises(InputError, match=r"numbered layers\. Found in .*: only\. Leave both"):
        stages(plain)
    assert freeze(plain, 0) is plain


def test_rates_by_hand() -> None:
    backbone = make("bert")
    factors = rate_factors(backbone, 0.5)
    assert [factor for _, factor in factors] == [0.125, 0.25, 0.5, 1.0, 1.0]
    paths = [{v.path.split("/")[0] for v in variables} for variables, _ in factors]
    assert paths[1:4] == [{f"transformer_layer_{i}"} for i in range(3)]
    assert paths[0] >= {"token_embedding", "position_embedding"} and paths[4] == {"pooled_dense"}
    assert sum(len(variables) for variables, _ in factors) == len(backbone.trainable_variables)
    frozen = freeze(make("bert"), 2)
    left = {f: len(variables) for variables, f in rate_factors(frozen, 0.5)}
    assert left[0.125] == left[0.25] == left[0.5] == 0 and left[1.0] > 0


def test_the_tower_has_all_its_weights_at_some_rate() -> None:
    config = QueryTowerConfig(frozen_layers=1, layer_rate_decay=0.5)
    tower = QueryTower(make("bert"), config, 6)
    factors = tower.rate_factors()
    given = [id(v) for variables, _ in factors for v in variables]
    assert len(given) == len(set(given)) and set(given) == {
        id(v) for v in tower.trainable_variables
    }
    assert factors[-1] == ([tower.head.kernel, tower.head.bias], 1.0)
