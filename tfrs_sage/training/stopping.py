"""How a training ends early: a signal ends the step and not its work; a loss that is none."""

import signal
import threading
from types import FrameType
from typing import Any


class TrainingDiverged(RuntimeError):
    """A loss is NaN or infinite; says at which step, of which task, and what is left."""


class TrainingStopped(RuntimeError):
    """A training ended early because it was asked to; its last step is in a checkpoint.

    Attributes:
        signal: number of the signal that asked.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.signal = number


class StopRequest:
    """Within its `with`, SIGTERM and SIGINT are noted and not acted upon.

    Python handles signals in the main thread only; in another one nothing is changed.

    Attributes:
        signal: number of the signal that came, None as long as none did.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in self.SIGNALS:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        # A second signal does what it always does: the user means it.
        signal.signal(number, self._before[number])
