"""One version of a model: found on disk, loaded, run."""

import functools
import hashlib
import importlib
import importlib.util
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from serving.batch_rows import Rows, rows_of
from serving.errors import ServingError, from_tensorflow
from tfrs_sage.artefacts import model_fingerprint
from tfrs_sage.errors import InputError
from tfrs_sage.export.unsafe_ops import unsafe_ops

_VERSION = re.compile(r"^[0-9]{1,30}$", re.ASCII)
DEFAULT_SIGNATURE = "serving_default"
SERVE_TAG = "serve"
_MAX_VERSION = 2**63 - 1
_INIT = "__saved_model_init_op"  # among the signatures, but for the loader alone
# Ops run in the thread that asks: to hand them to others costs more than most of them take, and
# there are other requests for the other cores. A large product still uses all of them.
_CONFIG = tf.compat.v1.ConfigProto(inter_op_parallelism_threads=-1)
# What TensorFlow raises for files that are not whole, by which of them it stumbles over.
_BROKEN = (
    *(tf.errors.OpError, OSError, ValueError, TypeError),
    *(LookupError, AttributeError, RuntimeError, DecodeError),
)


def register_custom_ops() -> None:
    """Imports the libraries whose ops saved graphs may use; ScaNN where it is installed."""
    importlib.import_module("tensorflow_text")
    if importlib.util.find_spec("scann") is not None:
        importlib.import_module("scann")


class LoadedModel:
    """One version of a model, ready to answer.

    It is run in a session, as TF Serving does: a call costs less than one of the function that
    `tf.saved_model.load` gives, and what is unloaded leaves nothing behind.

    Args:
        name: what clients ask for.
        version: the number of its folder.
        folder: the SavedModel.
        allow_unsafe_ops: also where its ops reach for other files, the network, Python or the
            process.

    Raises:
        InputError: it cannot be loaded, or may not be.
    """

    def __init__(
        self, name: str, version: int, folder: Path, *, allow_unsafe_ops: bool = False
    ) -> None:
        self.name = name
        self.version = version
        self.folder = folder
        self.signature_defs = _signature_defs(folder)
        self._rows = {name: rows_of(one) for name, one in self.signature_defs.items()}
        if not allow_unsafe_ops:
            _check_ops(folder)
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=_CONFIG)
        try:
            with self._session.graph.as_default():
                tf.compat.v1.saved_model.loader.load(self._session, [SERVE_TAG], str(folder))
            self._tensors = {
                name: (self._tensors_of(one.inputs), self._tensors_of(one.outputs))
                for name, one in self.signature_defs.items()
                if name != _INIT
            }
        except _BROKEN as e:
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
        if key not in self._tensors:
            raise ServingError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f'Serving signature key "{key}" not found.',
            )
        return self.signature_defs[key]

    def rows(self, signature_name: str) -> Rows | None:
        """How a signature's requests can be joined and taken apart; None where they cannot."""
        return self._rows[signature_name]

    def run(self, signature_name: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All outputs of a signature for checked inputs.

        Raises:
            ServingError: the model refused them; its code and words are passed on.
        """
        feeds, fetches = self._tensors[signature_name or DEFAULT_SIGNATURE]
        fed = {feeds[alias]: array for alias, array in inputs.items()}
        try:
            found = self._session.run(fetches, fed)
        except tf.errors.OpError as e:
            raise from_tensorflow(e) from e
        return {
            alias: np.array(value, object) if isinstance(value, bytes) else np.asarray(value)
            for alias, value in found.items()
        }

    def _tensors_of(self, infos: Mapping[str, Any]) -> dict[str, Any]:
        """The graph's tensors by alias."""
        graph = self._session.graph
        return {alias: graph.get_tensor_by_name(info.name) for alias, info in infos.items()}


def _signature_defs(folder: Path) -> dict[str, meta_graph_pb2.SignatureDef]:
    path = folder / "saved_model.pb"
    if not path.is_file():
        raise InputError(
            f"{folder} must be a SavedModel. Found: no saved_model.pb. Export the model again."
        )
    try:
        saved_model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    except DecodeError as e:
        raise InputError(
            f"{path} must be a SavedModel's. Found: {e}. Copy or export the model again."
        ) from e
    for meta_graph in saved_model.meta_graphs:
        if SERVE_TAG in meta_graph.meta_info_def.tags:
            definitions = dict(meta_graph.signature_def)
            for definition in definitions.values():
                definition.ClearField("defaults")  # as TF Serving does since 2.20
            return definitions
    raise InputError(f"{folder} must hold a graph with the tag {SERVE_TAG!r}. Found: none.")


def _check_ops(folder: Path) -> None:
    """Refuses a model that reaches beyond itself, before anything of it runs."""
    if found := unsafe_ops(folder):
        listed = ", ".join(f"{op} ({reach})" for op, reach in sorted(found.items()))
        raise InputError(
            f"{folder} must have no ops that reach for other files, the network, Python or the "
            f"process. Found: {listed}. Export it without them, or serve models that you trust "
            "with --allow_unsafe_ops."
        )


# Runs a signature of a model for checked inputs, as `LoadedModel.run` does.
Run = Callable[[LoadedModel, str, Mapping[str, np.ndarray]], dict[str, np.ndarray]]


def version_folders(base_path: Path) -> dict[int, Path]:
    """Folders whose names are whole numbers, by that number.

    Raises:
        OSError: the base path cannot be read.
    """
    return {
        int(path.name): path
        for path in sorted(base_path.iterdir())
        if _VERSION.match(path.name) and int(path.name) <= _MAX_VERSION and path.is_dir()
    }
