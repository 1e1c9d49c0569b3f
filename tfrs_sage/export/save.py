"""Writes SavedModels as versions: `<root>/<name>/<version>/`, whole and checked, or not at all."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_sage.artefacts import MANIFEST, whole_folder, write_json
from tfrs_sage.errors import InputError
from tfrs_sage.export.graph import refuse_large_constants
from tfrs_sage.export.roundtrip import ask_fresh_process, compare
from tfrs_sage.export.savedmodel import versions
from tfrs_sage.export.warmup import Request, read_warmup, write_warmup

# Those whose versions decide whether an export can be loaded elsewhere.
_PACKAGES = ("tensorflow", "tensorflow-text", "keras", "tfrs-sage")
# A file of variables is at most so large: a corpus past it is split over several files, and no
# copy of a tensor that saving makes is larger.
SHARD_BYTES = 2**28
BATCHING_FILE = "batching_params.pbtxt"
# TF Serving joins calls up to 64 rows and fills them up to the next allowed size; larger calls, up
# to `max_batch_size`, are split. The last allowed size must be `max_batch_size` even so. How many
# threads run batches is the server's own setting (serving/tfserving/batching_parameters.txt).
BATCHING = """max_batch_size { value: 512 }
enable_large_batch_splitting { value: true }
max_execution_batch_size { value: 64 }
batch_timeout_micros { value: 1000 }
max_enqueued_batches { value: 64 }
allowed_batch_sizes: [1, 8, 16, 32, 64, 512]
"""


@dataclass(frozen=True)
class Export:
    """What becomes the next version of a model.

    Attributes:
        name: the model's name, as clients ask for it.
        module: tf.Module that tracks everything that the signatures use.
        signatures: concrete functions by signature name.
        warmup: requests of real rows, at least one for each signature.
        manifest: what to keep in the version's `manifest.json`; versions of the packages and
            the signature names are added.
        namespaces: op namespaces beyond TensorFlow's that the graph may use, e.g.
            `("Scann",)`; TF Text's is always allowed.
    """

    name: str
    module: Any
    signatures: Mapping[str, Any]
    warmup: Sequence[Request]
    manifest: Mapping[str, Any] = field(default_factory=dict)
    namespaces: Sequence[str] = ()

    def answers(self, requests: Sequence[Request]) -> list[dict[str, np.ndarray]]:
        """What the model in memory answers."""
        return [
            {
                output: value.numpy()
                for output, value in self.signatures[signature](
                    **{name: tf.constant(values) for name, values in inputs.items()}
                ).items()
            }
            for signature, inputs in requests
        ]


def save_versions(
    exports: Sequence[Export], root: str | Path, *, check: bool = True
) -> dict[str, Path]:
    """Saves each as the next version of its model; all of them appear, or none.

    The folders are written beside under names that are no numbers, which TF Serving does not
    look at. There each version's warm-up requests are read back and replayed in a fresh process,
    which must answer as the model in memory does. Only then are they renamed: a server that
    polls sees neither half a version nor one that answers otherwise.

    Args:
        exports: the models.
        root: folder of all models.
        check: replay the warm-up in a fresh process.

    Returns:
        The new versions' folders by model name.

    Raises:
        InputError: a signature without a warm-up request.
        RuntimeError: a constant in the graph that belongs into a variable, or answers that differ.
    """
    targets: dict[str, Path] = {}
    with contextlib.ExitStack() as stack:
        beside: dict[str, Path] = {}
        for export in exports:
            base = Path(root) / export.name
            target = base / str(max(versions(base), default=0) + 1)
            beside[export.name] = stack.enter_context(whole_folder(target))
            _write(export, beside[export.name], int(target.name))
            targets[export.name] = target
        if check and exports:
            replay = {export.name: read_warmup(beside[export.name]) for export in exports}
            found = ask_fresh_process(
                {str(folder): replay[name] for name, folder in beside.items()},
                imports=sorted({n.lower() for export in exports for n in export.namespaces}),
            )
            for export in exports:
                requests, folder = replay[export.name], str(beside[export.name])
                compare(targets[export.name], requests, found[folder], export.answers(requests))
    return targets


def _write(export: Export, folder: Path, version: int) -> None:
    cold = set(export.signatures) - {request.signature for request in export.warmup}
    if cold:
        raise InputError(
            f"every signature must have a warm-up request. Received: none for {sorted(cold)} of "
            f"{export.name!r}."
        )
    options = tf.saved_model.SaveOptions(
        namespace_whitelist=["TFText", *export.namespaces],
        experimental_sharding_callback=tf.train.experimental.MaxShardSizePolicy(SHARD_BYTES),
    )
    signatures = dict(export.signatures)
    tf.saved_model.save(export.module, str(folder), signatures=signatures, options=options)
    refuse_large_constants(folder)
    write_warmup(folder, export.name, export.warmup)
    if all(is_batchable(function) for function in signatures.values()):
        (folder / BATCHING_FILE).write_text(BATCHING)
    content = {
        "model": export.name,
        "version": version,
        "signatures": sorted(signatures),
        "warmup_requests": len(export.warmup),
        "versions": {package: package_version(package) for package in _PACKAGES},
        **export.manifest,
    }
    write_json(folder / MANIFEST, content)


def is_batchable(function: Any) -> bool:
    """Whether TF Serving can join calls of this signature: every input's first axis is the batch.

    It refuses a call with an input without axes, such as `k`, once batching is on for a model.
    """
    inputs = tf.nest.flatten(function.structured_input_signature)
    return all(spec.shape.rank and spec.shape[0] is None for spec in inputs)
