"""What a training run tells while it runs: a bar, a line a checkpoint, curves in files."""

import json
import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tfrs_sage.training.checkpoints import latest_checkpoint, save_checkpoint

logger = logging.getLogger(__name__)
SECONDS_BETWEEN_LINES = 20.0


class TrainingDiverged(RuntimeError):
    """A loss is NaN or infinite; says at which step, of which task, and what is left."""


class ProgressBar(keras.callbacks.Callback):
    """A bar over all steps on a terminal; in a log, a line now and then."""

    def __init__(self, start: int, num_steps: int) -> None:
        super().__init__()
        self.step, self.num_steps = start, num_steps
        self.began = self.told = time.monotonic()
        self.first = start
        self.progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("loss {task.fields[loss]:.3f}"),
            console=Console(stderr=True),
            disable=not Console(stderr=True).is_terminal,
        )
        self.task = self.progress.add_task("", total=num_steps, completed=start, loss=0.0)

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self.progress.start()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        self.step += 1
        loss, now = float((logs or {}).get("loss", 0.0)), time.monotonic()
        self.progress.update(self.task, advance=1, loss=loss)
        if self.progress.disable and now - self.told >= SECONDS_BETWEEN_LINES:
            self.told = now
            left = (now - self.began) / (self.step - self.first) * (self.num_steps - self.step)
            message = "step %d of %d, loss %.3f, about %d s left"
            logger.info(message, self.step, self.num_steps, loss, left)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        self.progress.stop()


class Checkpoints(keras.callbacks.Callback):
    """Saves at the end of each Keras epoch, which lasts `checkpoint_steps` steps, and tells.

    Each time one line goes to `metrics/train.jsonl`: the step, the seconds, the mean loss and
    accuracy of every task since the last line.
    """

    def __init__(self, run_dir: Path, start: int, pairs_per_step: int, **fields: Any) -> None:
        super().__init__()
        self.run_dir, self.step, self.pairs, self.fields = run_dir, start, pairs_per_step, fields
        self.lines = run_dir / "metrics" / "train.jsonl"
        self.lines.parent.mkdir(parents=True, exist_ok=True)
        self.began = self.marked = start
        self.time = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        self.step += 1
        broken = [key for key, value in (logs or {}).items() if not math.isfinite(float(value))]
        if broken:
            newest = latest_checkpoint(self.run_dir / "checkpoints")
            raise TrainingDiverged(
                f"A loss must be finite. Found at step {self.step}: {', '.join(broken)} is not. "
                f"The last good checkpoint is {newest}. Train on from it with a lower "
                "training.learning_rate, or with --restart."
            )

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        seconds = time.monotonic() - self.time
        line = {
            "step": self.step,
            "seconds": round(seconds, 3),
            "pairs_per_second": round((self.step - self.marked) * self.pairs / seconds, 1),
            "temperature": float(1.0 / keras.ops.exp(self.model.log_scale)),
            **{key: float(value) for key, value in (logs or {}).items()},
        }
        with open(self.lines, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        save_checkpoint(self.run_dir / "checkpoints", self.model, self.step, **self.fields)
        self.marked, self.time = self.step, time.monotonic()
