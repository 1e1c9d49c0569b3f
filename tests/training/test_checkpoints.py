import keras
import numpy as np
import pytest

from tfrs_sage.errors import InputError
from tfrs_sage.losses import CountMinSketch
from tfrs_sage.training.checkpoints import (
    all_variables,
    checkpoints,
    latest_checkpoint,
    restore_checkpoint,
    restore_weights,
    save_checkpoint,
)


class Sketched(keras.Model):
    """Layers in a mapping, as the retrieval model has them."""

    def __init__(self, units=3):
        super().__init__()
        self.dense = keras.layers.Dense(units)
        self.dropout = keras.layers.Dropout(0.5)
        self.sketches = {"a/b": CountMinSketch(64)}

    def call(self, x, training=False):
        return self.dropout(self.dense(x), training=training)


def make(units=3):
    model = Sketched(units)
    model(np.ones((1, 2), np.float32))  # builds it
    model.compile(optimizer="adam", loss="mse")
    model.optimizer.build(model.trainable_variables)
    return model


def test_everything_comes_back(tmp_path) -> None:
    model = make()
    model.sketches["a/b"].update(np.array([3, 3, 4], np.int64))
    model.fit(np.ones((4, 2)), np.ones((4, 3)), verbose=0)
    save_checkpoint(tmp_path, model, 7, fingerprint="f")
    other = make()
    assert restore_checkpoint(latest_checkpoint(tmp_path), other, fingerprint="f") == 7
    for ours, theirs in zip(all_variables(other), all_variables(model), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert other.sketches["a/b"](np.array([3, 4, 5])).numpy().tolist() == [2, 1, 0]


def blocks():
    """Two layers that only a number tells apart, as the blocks of an encoder."""
    model = keras.Sequential([keras.Input((2,)), *(keras.layers.Dense(2) for _ in range(2))])
    model.compile(optimizer="adam")
    return model


def test_initial_weights_of_layers_that_are_named_alike(tmp_path) -> None:
    model, other = blocks(), blocks()
    path = save_checkpoint(tmp_path, model, 3)
    restore_weights(path, other)
    for ours, theirs in zip(other.trainable_variables, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(InputError, match="must hold the weights of these towers"):
        restore_weights(path, make())


def test_another_model_or_run_is_refused(tmp_path) -> None:
    path = save_checkpoint(tmp_path, make(), 1, fingerprint="f")
    with pytest.raises(InputError, match="must hold the variables of this model"):
        restore_checkpoint(path, make(units=4))
    with pytest.raises(InputError, match="fingerprint is 'f', needed 'g'"):
        restore_checkpoint(path, make(), fingerprint="g")


def test_the_newest_two_are_kept(tmp_path) -> None:
    model = make()
    for step in (1, 2, 10):
        save_checkpoint(tmp_path, model, step)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-000000002", "step-000000010"]
