"""The file of models, read again while the server runs."""

import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from serving.errors import ServingError
from serving.model_config import ModelConfig, read_model_config
from tfrs_sage.errors import InputError

logger = logging.getLogger(__name__)


class ConfigFile:
    """A `--model_config_file` and what it said last.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._seen = path, b""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def read(self) -> list[ModelConfig]:
        """The models of the file.

        Raises:
            InputError: no such file, or not what TF Serving takes.
        """
        configs = read_model_config(self._path)
        self._seen = self._path.read_bytes()
        return configs

    def follow(self, configure: Callable[[Iterable[ModelConfig]], None], wait_s: float) -> None:
        """Looks every `wait_s` seconds, and serves what a changed file says."""

        def run() -> None:
            while not self._stop.wait(wait_s):
                self.look(configure)

        self._thread = threading.Thread(target=run, name="model config")
        self._thread.start()

    def look(self, configure: Callable[[Iterable[ModelConfig]], None]) -> None:
        """Looks once. What is wrong with the file is logged and changes nothing."""
        try:
            now = self._path.read_bytes()
            if now == self._seen:
                return
            self._seen = now  # told once, also where it is wrong
            configure(read_model_config(self._path))
            logger.info("serving the models of %s as it is now", self._path)
        except (InputError, OSError, ServingError, UnicodeDecodeError) as error:
            logger.error("%s could not be followed: %s", self._path, error)

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
