"""Low precision stays in the towers: logits, temperature, counts and weights do not take part."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.test_chunks import CLICK, SAVE, make_batch, make_model
from tfrs_sage.training.optimizer import LazyAdamW


@pytest.fixture(params=["mixed_bfloat16", "mixed_float16"])
def policy(request):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


@pytest.fixture
def model(policy):
    model = make_model()
    model.compile(optimizer=LazyAdamW(5e-3, global_clipnorm=1.0), jit_compile=False)
    return model


def test_everything_outside_of_the_towers_is_float32(model, policy) -> None:
    batch = make_batch()
    embedded = model(batch, training=True)
    assert model.towers["product"].compute_dtype == policy.removeprefix("mixed_")
    assert {value.dtype for value in tf.nest.flatten(embedded)} == {tf.float32}
    assert {variable.dtype for variable in model.trainable_variables} == {"float32"}
    assert model.sketches[CLICK].pairs.counts.dtype == "int32"
    loss = model.compute_loss(x=batch, y_pred=embedded)
    assert loss.dtype == tf.float32
    # The same embeddings under a float32 policy: the very same loss.
    keras.config.set_dtype_policy("float32")
    assert float(make_model().compute_loss(x=batch, y_pred=embedded)) == float(loss)


def test_a_fine_difference_of_logits_is_not_lost(model) -> None:
    """At a scale of 100, 1e-4 of a score is 0.01 in the logit: float16 steps by 0.06 there."""
    model.log_scale.assign(np.log(100.0))
    batch = make_batch()
    embedded = model(batch, training=True)
    before = float(model.compute_loss(x=batch, y_pred=embedded, training=True))
    embedded["pairs"][SAVE]["candidate"] *= 1.0 + 1e-4
    after = float(model.compute_loss(x=batch, y_pred=embedded, training=False))
    assert 1e-4 < abs(after - before) < 0.1


@pytest.mark.parametrize("num_chunks", [1, 2])
def test_it_trains(model, num_chunks, policy) -> None:
    model.num_chunks = num_chunks
    data = tf.data.Dataset.from_tensors(make_batch()).repeat(25)
    history = model.fit(data, epochs=2, steps_per_epoch=25, verbose=0, shuffle=False).history
    assert history["loss"][1] < history["loss"][0]
    scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (policy == "mixed_float16")
    if scaled:  # the norm is that of the gradients, not of the scaled ones
        assert float(model.optimizer.inner_optimizer.gradient_norm) < 1e4
