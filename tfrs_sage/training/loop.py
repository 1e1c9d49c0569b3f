"""The training loop: step by step, stoppable between any two, nothing lost."""

import math
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras

from tfrs_sage.training.checkpoints import latest_checkpoint, save_checkpoint
from tfrs_sage.training.config import TrainingConfig
from tfrs_sage.training.curves import Curves
from tfrs_sage.training.progress import ProgressBar
from tfrs_sage.training.stopping import StopRequest, TrainingDiverged, TrainingStopped


class Loop:
    """Takes batches, steps, and at round steps writes curves and checkpoints.

    Args:
        run_dir: the run folder.
        model: compiled, with the weights of step `start`.
        config: how often to write.
        pairs_per_step: int, over all tasks and replicas.
        fields: what a checkpoint's manifest says of its training.
        writes: bool, whether this process writes the files (of several workers the first does).
    """

    def __init__(
        self,
        run_dir: Path,
        model: keras.Model,
        config: TrainingConfig,
        pairs_per_step: int,
        fields: dict[str, Any],
        writes: bool = True,
    ) -> None:
        self.run_dir, self.model, self.config = run_dir, model, config
        self.pairs_per_step, self.fields, self.writes = pairs_per_step, fields, writes
        self.folder = run_dir / "checkpoints"

    def run(
        self,
        step_function: Callable[[Any], dict[str, Any]],
        batches: Iterator[Any],
        start: int,
        num_steps: int,
    ) -> dict[str, Any]:
        """Steps `start` to `num_steps`; the last line of the curves.

        Raises:
            TrainingDiverged: a loss is no longer finite.
            TrainingStopped: SIGTERM or SIGINT came; the last step is in a checkpoint.
        """
        curves = Curves(self.run_dir, start) if self.writes else None
        line: dict[str, Any] = {}
        waited, marked, since = 0.0, start, time.monotonic()
        try:
            with ProgressBar(start, num_steps) as bar, StopRequest() as stop:
                for step in range(start + 1, num_steps + 1):
                    asked = time.monotonic()
                    batch = next(batches)
                    waited += time.monotonic() - asked
                    logs = step_function(batch)
                    loss = float(logs["loss"])
                    if not math.isfinite(loss):
                        raise self.diverged(step, logs)
                    bar.show(step, loss)
                    # Once a step: a signal that comes while this one is written ends the next.
                    asked_to_stop = stop.signal
                    last = step == num_steps or asked_to_stop is not None
                    save = last or step % self.config.checkpoint_steps == 0
                    if save or step % self.config.log_steps == 0:
                        seconds = time.monotonic() - since
                        line = self.line(step, logs, step - marked, seconds, waited)
                        waited, marked, since = 0.0, step, time.monotonic()
                        self.model.reset_metrics()
                        if curves is not None:
                            curves.write(line)
                    if self.writes and save:
                        save_checkpoint(self.folder, self.model, step, **self.fields)
                    if asked_to_stop is not None and step < num_steps:
                        raise self.stopped(step, num_steps, asked_to_stop)
        finally:
            if curves is not None:
                curves.close()
        return line

    def line(
        self, step: int, logs: dict[str, Any], steps: int, seconds: float, waited: float
    ) -> dict[str, Any]:
        """What is told of the `steps` steps up to `step`: means of the metrics, rates, norms."""
        optimizer = self.model.optimizer
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # under loss scaling
        return {
            "step": step,
            "seconds": round(seconds, 3),
            "pairs_per_second": round(steps * self.pairs_per_step / seconds, 1),
            "waiting_share": round(waited / seconds, 4),
            "temperature": math.exp(-_number(self.model.log_scale)),
            "gradient_norm": _number(optimizer.gradient_norm),
            "learning_rate": _number(optimizer.learning_rate),
            **{key: float(value) for key, value in logs.items()},
        }

    def diverged(self, step: int, logs: dict[str, Any]) -> TrainingDiverged:
        broken = [key for key, value in logs.items() if not math.isfinite(float(value))]
        return TrainingDiverged(
            f"A loss must be finite. Found at step {step}: {', '.join(broken)} is not. "
            f"The last good checkpoint is {latest_checkpoint(self.folder)}. Train on from it with "
            "a lower training.learning_rate, or with --restart."
        )

    def stopped(self, step: int, num_steps: int, number: int) -> TrainingStopped:
        return TrainingStopped(
            f"stopped by {signal.Signals(number).name} after step {step} of {num_steps}; "
            f"{latest_checkpoint(self.folder)} has it all: the same command goes on from there",
            number,
        )


def _number(value: Any) -> float:
    """Of a variable or a tensor, also where each replica holds a copy."""
    return float(keras.ops.convert_to_numpy(value))
