"""The models that answer, by name, version and label, and the state that each version is in.

Requests read without a lock: a change puts a new table in the old one's place. A version that is
taken out lives on in the requests that have it, and is freed with the last of them.
"""

import enum
import threading
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import grpc
from tensorflow_serving.apis import model_pb2

from serving.errors import ServingError, invalid_argument, not_found
from serving.models import LoadedModel
from tfrs_sage.errors import InputError

_MAX_ENDED = 16  # states of unloaded versions that are remembered for a model


class State(enum.Enum):
    """TF Serving's states of a version, with their numbers on the wire."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


class VersionState(NamedTuple):
    """A state, and what went wrong: a gRPC status code (0 for nothing) and words.

    A version that is AVAILABLE has code 0 always; its words then tell why a newer one, or its
    folder, is not to be had.
    """

    state: State
    code: int = 0
    message: str = ""


class ModelStore:
    """Models by name and version; for all threads.

    Args:
        models: versions that are loaded.
        labels: version numbers by label, by model name, e.g. `{"m": {"stable": 3}}`.

    Raises:
        InputError: a label names no loaded version.
    """

    def __init__(
        self,
        models: Iterable[LoadedModel] = (),
        labels: Mapping[str, Mapping[str, int]] | None = None,
    ) -> None:
        self._lock = threading.Lock()
        self._models: dict[str, dict[int, LoadedModel]] = {}
        self._labels: dict[str, dict[str, int]] = {}
        self._states: dict[str, dict[int, VersionState]] = {}
        for model in models:
            self.add(model)
        for name, by_label in (labels or {}).items():
            try:
                self.set_labels(name, by_label)
            except ServingError as error:
                raise InputError(
                    f"{error.text}. Loaded: {sorted(self.loaded(name))}. A label must name one."
                ) from error

    def names(self) -> dict[str, list[int]]:
        """Loaded versions by model name."""
        return {name: sorted(versions) for name, versions in sorted(self._models.items())}

    def loaded(self, name: str) -> Mapping[int, LoadedModel]:
        """The versions of a model that answer."""
        return self._models.get(name, {})

    def states(self, name: str) -> dict[int, VersionState]:
        """The state of every version of a model that is known."""
        with self._lock:
            return dict(self._states.get(name, {}))

    def set_state(self, name: str, version: int, state: VersionState) -> None:
        """Tells how it stands with a version; the oldest ended ones are forgotten."""
        with self._lock:
            states = self._states.setdefault(name, {})
            states[version] = state
            ended = sorted(v for v, one in states.items() if one.state is State.END)
            for old in ended[:-_MAX_ENDED]:
                del states[old]

    def add(self, model: LoadedModel) -> None:
        """Lets a version answer from now on."""
        with self._lock:
            old = self._models.get(model.name, {})
            self._models = {**self._models, model.name: {**old, model.version: model}}
        self.set_state(model.name, model.version, VersionState(State.AVAILABLE))

    def remove(self, name: str, version: int) -> None:
        """Takes a version out; requests that have it are answered still."""
        with self._lock:
            left = {v: model for v, model in self._models[name].items() if v != version}
            others = {n: versions for n, versions in self._models.items() if n != name}
            self._models = {**others, name: left} if left else others
        self.set_state(name, version, VersionState(State.END))

    def set_labels(self, name: str, labels: Mapping[str, int], *, new_ones: bool = False) -> None:
        """The labels of a model, in place of those it had.

        Args:
            name: of the model.
            labels: version numbers by label.
            new_ones: labels that the model has not yet may name any version.

        Raises:
            ServingError: FAILED_PRECONDITION, a version that does not answer; nothing is changed.
        """
        old = self._labels.get(name, {})
        for label, version in labels.items():
            may_wait = new_ones and old.get(label, version) == version
            if version not in self.loaded(name) and not may_wait:
                raise ServingError(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    f"Request to assign label to version {version} of model {name}, which is not "
                    "currently available for inference",
                )
        with self._lock:
            self._labels = {**self._labels, name: dict(labels)}

    def find(self, spec: model_pb2.ModelSpec) -> LoadedModel:
        """The model that a request means: a version, a label, or the latest version.

        Raises:
            ServingError: with TF Serving's codes and texts.
        """
        if not spec.name:
            raise invalid_argument("ModelSpec has no name specified.")
        versions = self.loaded(spec.name)
        choice = spec.WhichOneof("version_choice")
        if choice is None:
            if not versions:
                raise not_found(f"Servable not found for request: Latest({spec.name})")
            return versions[max(versions)]
        wanted = spec.version.value
        if choice == "version_label":
            labels = self._labels.get(spec.name, {})
            if spec.version_label not in labels:
                raise invalid_argument(f"Unrecognized servable version label: {spec.version_label}")
            wanted = labels[spec.version_label]
        if wanted not in versions:
            raise not_found(f"Servable not found for request: Specific({spec.name}, {wanted})")
        return versions[wanted]
