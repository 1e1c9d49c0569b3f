"""Keeps the models that answer as their folders and their configuration are: the hot reload.

A version that is wanted is loaded and warmed up, then answers; only then do those that are not
wanted any more go. Where something is wrong with what is on disk (a version half copied, broken,
one that fails its warm-up, a base path that cannot be read) what answers goes on answering, and
`GetModelStatus` tells why.

References:
    TF Serving, `file_system_storage_path_source.cc` and `AvailabilityPreservingPolicy`. Unlike it,
    a version whose folder or base path disappears is not unloaded before another can take its
    place, and a new version is loaded only once its files stay the same from one look to the next.
"""

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import grpc

from serving.errors import ServingError
from serving.model_config import ModelConfig
from serving.models import LoadedModel, version_folders
from serving.store import ModelStore, State, VersionState
from tfrs_sage.errors import InputError

logger = logging.getLogger(__name__)
MAX_RETRIES = 5
RETRY_S = 60.0
Prepare = Callable[[LoadedModel], object]
_Files = tuple[tuple[str, int, int], ...]  # path, size and time of each file of a version


class _Attempt(NamedTuple):
    """What came of loading a version: its files then, how often it failed, when to try again."""

    files: _Files
    failures: int
    again_at: float


class ModelManager:
    """Loads and unloads; one thread at a time.

    Args:
        store: the models that answer.
        prepare: what is done with a version before it answers, e.g. its warm-up; may raise
            `ServingError` or `InputError`: the version is not taken then.
        max_retries: times that a version is tried again whose files stay the same.
        retry_s: seconds between them.
        early_labels: a new label may name a version that does not answer yet.
        allow_unsafe_ops: see `LoadedModel`.
        clock: seconds, never backwards.
    """

    def __init__(
        self,
        store: ModelStore,
        prepare: Prepare = lambda model: None,
        *,
        max_retries: int = MAX_RETRIES,
        retry_s: float = RETRY_S,
        early_labels: bool = False,
        allow_unsafe_ops: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._prepare, self._clock = store, prepare, clock
        self._max_retries, self._retry_s = max_retries, retry_s
        self._early_labels, self._allow_unsafe_ops = early_labels, allow_unsafe_ops
        self._configs: dict[str, ModelConfig] = {}
        self._attempts: dict[tuple[str, int], _Attempt] = {}
        self._lock, self._stop = threading.RLock(), threading.Event()
        self._thread: threading.Thread | None = None

    def configure(self, configs: Iterable[ModelConfig]) -> None:
        """Serves these models and no others; returns when they answer.

        Raises:
            ServingError: UNKNOWN, a model of which no version could be loaded (its reasons are in
                the text); FAILED_PRECONDITION, a label of a version that does not answer. All
                else has been done.
        """
        with self._lock:
            self._configs = {config.name: config for config in configs}
            for name in [name for name in self._store.names() if name not in self._configs]:
                for version in list(self._store.loaded(name)):
                    self._unload(name, version)
            reasons = [self._look(config, settled=True) for config in self._configs.values()]
            refusals = [self._label(config) for config in self._configs.values()]
            if missing := [name for name in self._configs if not self._store.loaded(name)]:
                raise ServingError(
                    grpc.StatusCode.UNKNOWN,
                    f"{len(missing)} model(s) did not become available: "
                    + " ".join(reason for reason in reasons if reason),
                )
        for refusal in refusals:
            if refusal is not None:
                raise refusal

    def poll(self) -> None:
        """Looks at the folders once, and does what is to be done."""
        with self._lock:
            for config in self._configs.values():
                self._look(config, settled=False)

    def start(self, wait_s: float) -> None:
        """Polls every `wait_s` seconds from now on, in a thread of its own."""
        self._thread = threading.Thread(target=self._run, args=(wait_s,), name="models")
        self._thread.start()

    def stop(self) -> None:
        """Ends the polling; what is being loaded is loaded first."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, wait_s: float) -> None:
        while not self._stop.wait(wait_s):
            self.poll()

    def _label(self, config: ModelConfig) -> ServingError | None:
        """Gives a model its labels; why it could not, or nothing."""
        try:
            if self._store.loaded(config.name):
                self._store.set_labels(config.name, config.labels, new_ones=self._early_labels)
        except ServingError as error:
            return error
        return None

    def _look(self, config: ModelConfig, *, settled: bool) -> str:
        """Brings one model up to date; what is wrong with it, or nothing."""
        try:
            folders = version_folders(config.base_path)
        except OSError as e:
            reason = f"Could not find base path {config.base_path} for servable {config.name} ({e})"
            return self._tell(config.name, reason)
        wanted = config.wanted(folders)
        reasons = [self._load(config.name, v, folders[v], settled) for v in wanted]
        for version in config.versions:
            if version not in folders and version not in self._store.loaded(config.name):
                reason = f"Version {version} of servable {config.name} was not found under "
                reasons.append(f"{reason}{config.base_path}")
                state = VersionState(State.END, grpc.StatusCode.NOT_FOUND.value[0], reasons[-1])
                self._store.set_state(config.name, version, state)
        if not folders:
            reasons.append(
                f"No versions of servable {config.name} found under base path {config.base_path}. "
                "Did you forget to name your leaf directory as a number (eg. '/1/')?"
            )
        loaded = set(self._store.loaded(config.name))
        if loaded & set(wanted):
            for version in sorted(loaded - set(wanted)):
                self._unload(config.name, version)
        return self._tell(config.name, " ".join(reason for reason in reasons if reason))

    def _tell(self, name: str, reason: str) -> str:
        """What is wrong, with the versions that answer nevertheless; logged when it changes."""
        told = {self._store.states(name)[version].message for version in self._store.loaded(name)}
        if told and told != {reason}:
            if reason:
                logger.warning("%s keeps serving what it has: %s", name, reason)
            for version in self._store.loaded(name):
                self._store.set_state(name, version, VersionState(State.AVAILABLE, 0, reason))
        return reason

    def _load(self, name: str, version: int, folder: Path, settled: bool) -> str:
        """Loads a version if it is not and may be; why it is not there, or nothing."""
        if version in self._store.loaded(name):
            return ""
        key, files = (name, version), _files(folder)
        last = self._attempts.get(key)
        if last is None or last.files != files:
            last = _Attempt(files, 0, 0.0)
            self._attempts[key] = last
            if not settled:
                reason = f"Version {version} of servable {name} is new: its files must settle."
                self._store.set_state(name, version, VersionState(State.START, 0, reason))
                return reason
        state = self._store.states(name).get(version)
        if last.failures > self._max_retries or self._clock() < last.again_at:
            return state.message if state else ""
        self._store.set_state(name, version, VersionState(State.LOADING))
        try:
            model = LoadedModel(name, version, folder, allow_unsafe_ops=self._allow_unsafe_ops)
            self._prepare(model)
        except (InputError, ServingError, OSError) as error:
            again_at = self._clock() + self._retry_s
            self._attempts[key] = _Attempt(files, last.failures + 1, again_at)
            code = error.code if isinstance(error, ServingError) else grpc.StatusCode.INTERNAL
            reason = f"Version {version} of servable {name} could not be loaded: {error}"
            logger.error("%s", reason)
            self._store.set_state(name, version, VersionState(State.END, code.value[0], reason))
            return reason
        self._store.add(model)
        self._attempts.pop(key)
        logger.info("loaded %s %d", name, version)
        return ""

    def _unload(self, name: str, version: int) -> None:
        self._store.remove(name, version)
        gc.collect()  # a loaded SavedModel is full of cycles
        logger.info("unloaded %s %d", name, version)


def _files(folder: Path) -> _Files:
    """Tells the contents of a folder from what they were and from what they will be."""
    found = []
    for path in sorted(folder.rglob("*")):
        try:
            about = path.stat()
        except OSError:  # it went while we looked: the next look will see
            continue
        found.append((str(path), about.st_size, about.st_mtime_ns))
    return tuple(found)
