"""The models that a server holds: found on disk, loaded, looked up by name and version."""

import functools
import hashlib
import importlib
import importlib.util
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow_serving.apis import model_pb2

from serving.errors import ServingError, from_tensorflow, invalid_argument, not_found
from tfrs_sage.artefacts import model_fingerprint
from tfrs_sage.errors import InputError

_VERSION = re.compile(r"^[0-9]+$")
DEFAULT_SIGNATURE = "serving_default"
SERVE_TAG = "serve"


def register_custom_ops() -> None:
    """Imports the libraries whose ops saved graphs may use; ScaNN where it is installed."""
    importlib.import_module("tensorflow_text")
    if importlib.util.find_spec("scann") is not None:
        importlib.import_module("scann")


class LoadedModel:
    """One version of a model, ready to answer.

    Args:
        name: what clients ask for.
        version: the number of its folder.
        folder: the SavedModel.

    Raises:
        InputError: it cannot be loaded.
    """

    def __init__(self, name: str, version: int, folder: Path) -> None:
        self.name = name
        self.version = version
        self.folder = folder
        self.signature_defs = _signature_defs(folder)
        try:
            self._model = tf.saved_model.load(str(folder), tags=[SERVE_TAG])
        except (tf.errors.OpError, FileNotFoundError, OSError, ValueError) as e:
            raise InputError(
                f"{folder} must be a SavedModel that TensorFlow {tf.__version__} loads. "
                f"Found: {e} If an op is not registered, install the package that it is from "
                "(ops 'Scann>...' are ScaNN's)."
            ) from e

    @functools.cached_property
    def identity(self) -> bytes:
        """32 bytes for this name, version and content: the same on every server that has it.

        Reads every file when it is first asked for.
        """
        content = f"{self.name}\0{self.version}\0{model_fingerprint(self.folder)}"
        return hashlib.sha256(content.encode()).digest()

    def signature_def(self, signature_name: str) -> meta_graph_pb2.SignatureDef:
        """The definition of a signature, of the default one where no name is given.

        Raises:
            ServingError: FAILED_PRECONDITION, there is none of that name.
        """
        key = signature_name or DEFAULT_SIGNATURE
        if key not in self.signature_defs or key not in self._model.signatures:
            raise ServingError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f'Serving signature key "{key}" not found.',
            )
        return self.signature_defs[key]

    def run(self, signature_name: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All outputs of a signature for checked inputs.

        Raises:
            ServingError: the model refused them; its code and words are passed on.
        """
        function = self._model.signatures[signature_name or DEFAULT_SIGNATURE]
        try:
            tensors = {alias: tf.constant(array) for alias, array in inputs.items()}
            return {alias: value.numpy() for alias, value in function(**tensors).items()}
        except tf.errors.OpError as e:
            raise from_tensorflow(e) from e


def _signature_defs(folder: Path) -> dict[str, meta_graph_pb2.SignatureDef]:
    path = folder / "saved_model.pb"
    if not path.is_file():
        raise InputError(
            f"{folder} must be a SavedModel. Found: no saved_model.pb. Export the model again."
        )
    for meta_graph in saved_model_pb2.SavedModel.FromString(path.read_bytes()).meta_graphs:
        if SERVE_TAG in meta_graph.meta_info_def.tags:
            definitions = dict(meta_graph.signature_def)
            for definition in definitions.values():
                definition.ClearField("defaults")  # as TF Serving does since 2.20
            return definitions
    raise InputError(f"{folder} must hold a graph with the tag {SERVE_TAG!r}. Found: none.")


class ModelStore:
    """Models by name and version.

    Args:
        models: every loaded version.
        labels: version numbers by label, by model name, e.g. `{"m": {"stable": 3}}`.
    """

    def __init__(
        self,
        models: Iterable[LoadedModel],
        labels: Mapping[str, Mapping[str, int]] | None = None,
    ) -> None:
        self._models: dict[str, dict[int, LoadedModel]] = {}
        for model in models:
            self._models.setdefault(model.name, {})[model.version] = model
        self._labels = {name: dict(by_label) for name, by_label in (labels or {}).items()}
        for name, by_label in self._labels.items():
            for label, version in by_label.items():
                if version not in self._models.get(name, {}):
                    raise InputError(
                        f"label {label!r} of model {name!r} must name a loaded version. "
                        f"Received: {version}. Loaded: {sorted(self._models.get(name, {}))}."
                    )

    def names(self) -> dict[str, list[int]]:
        """Loaded versions by model name."""
        return {name: sorted(versions) for name, versions in sorted(self._models.items())}

    def identities(self) -> list[bytes]:
        """`LoadedModel.identity` of every model, so that no request waits for it."""
        return [model.identity for by in self._models.values() for model in by.values()]

    def find(self, spec: model_pb2.ModelSpec) -> LoadedModel:
        """The model that a request means: a version, a label, or the latest version.

        Raises:
            ServingError: with TF Serving's codes and texts.
        """
        if not spec.name:
            raise invalid_argument("ModelSpec has no name specified.")
        versions = self._models.get(spec.name, {})
        choice = spec.WhichOneof("version_choice")
        if choice == "version_label":
            wanted = self._labels.get(spec.name, {}).get(spec.version_label)
            if wanted is None:
                raise invalid_argument(f"Unrecognized servable version label: {spec.version_label}")
            return versions[wanted]
        if choice == "version":
            if spec.version.value not in versions:
                raise not_found(
                    f"Servable not found for request: Specific({spec.name}, {spec.version.value})"
                )
            return versions[spec.version.value]
        if not versions:
            raise not_found(f"Servable not found for request: Latest({spec.name})")
        return versions[max(versions)]


def version_folders(base_path: Path) -> dict[int, Path]:
    """Folders whose names are whole numbers, by that number."""
    return {
        int(path.name): path
        for path in sorted(base_path.iterdir())
        if path.is_dir() and _VERSION.match(path.name)
    }


def load_latest(name: str, base_path: str | Path) -> LoadedModel:
    """The newest version under `base_path`.

    Raises:
        InputError: no such folder, or no version in it.
    """
    base_path = Path(base_path)
    if not base_path.is_dir():
        raise InputError(f"Could not find base path {base_path} for servable {name}")
    folders = version_folders(base_path)
    if not folders:
        raise InputError(
            f"No versions of servable {name} found under base path {base_path}. Did you forget "
            "to name your leaf directory as a number (eg. '/1/')?"
        )
    return LoadedModel(name, max(folders), folders[max(folders)])


def load_all(root: str | Path) -> list[LoadedModel]:
    """The newest version of every model in a `saved_models` folder.

    Folders without a version in them (an export that was interrupted) are passed over.

    Raises:
        InputError: no model in it.
    """
    root = Path(root)
    bases = sorted(p for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
    models = [load_latest(base.name, base) for base in bases if version_folders(base)]
    if not models:
        raise InputError(
            f"{root} must hold models as <name>/<version>/. Found: none. Run export first."
        )
    return models
