"""The loop ends between two steps only, whenever the signal comes."""

import itertools
import os
import signal

import keras
import pytest

from tfrs_sage.training.checkpoints import checkpoints
from tfrs_sage.training.config import TrainingConfig
from tfrs_sage.training.loop import Loop
from tfrs_sage.training.optimizer import LazyAdamW
from tfrs_sage.training.stopping import TrainingStopped


class SignalsWhenWritten(float):
    """A loss that sends SIGTERM when the curves read it: the step's checkpoint is decided then."""

    reads = 0

    def __float__(self) -> float:
        self.reads += 1
        if self.reads == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return 1.0


def test_a_signal_while_a_step_is_written_ends_the_next_with_its_checkpoint(tmp_path) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.log_scale = keras.Variable(0.0)
    model.compile(optimizer=LazyAdamW(0.1))
    model.optimizer.build(model.trainable_variables)
    config = TrainingConfig(log_steps=1, checkpoint_steps=100)
    losses = itertools.chain([1.0, SignalsWhenWritten()], itertools.repeat(1.0))
    loop = Loop(tmp_path, model, config, pairs_per_step=1, fields={})
    with pytest.raises(TrainingStopped, match=r"after step 3 of 9; .*step-000000003 has"):
        loop.run(lambda batch: {"loss": next(losses)}, itertools.repeat(None), 0, 9)
    assert [path.name for path in checkpoints(tmp_path / "checkpoints")] == ["step-000000003"]
