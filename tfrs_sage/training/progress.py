"""What a training run tells while it runs: a bar on a terminal, a line now and then in a log."""

import logging
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

logger = logging.getLogger(__name__)
SECONDS_BETWEEN_LINES = 20.0


class ProgressBar:
    """A bar over all steps on a terminal; in a log, a line now and then."""

    def __init__(self, start: int, num_steps: int) -> None:
        self.num_steps, self.first = num_steps, start
        self.began = self.told = time.monotonic()
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

    def __enter__(self) -> "ProgressBar":
        self.progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.stop()

    def show(self, step: int, loss: float) -> None:
        """Tells that `step` steps are done."""
        now = time.monotonic()
        self.progress.update(self.task, completed=step, loss=loss)
        if self.progress.disable and now - self.told >= SECONDS_BETWEEN_LINES:
            self.told = now
            left = (now - self.began) / (step - self.first) * (self.num_steps - step)
            message = "step %d of %d, loss %.3f, about %d s left"
            logger.info(message, step, self.num_steps, loss, left)
