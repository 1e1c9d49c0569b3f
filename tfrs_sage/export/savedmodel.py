"""Writes SavedModels as versions: `<root>/<name>/<version>/`, whole or not at all."""

import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrs_sage.artefacts import MANIFEST, whole_folder, write_json
from tfrs_sage.errors import InputError
from tfrs_sage.types import Tensor

_INTEGER = re.compile(r"^[0-9]+$")
# Those whose versions decide whether an export can be loaded elsewhere.
_PACKAGES = ("tensorflow", "tensorflow-text", "keras", "tfrs-sage")


def versions(base: str | Path) -> list[int]:
    """The version numbers under a model's folder, ascending; none where it is absent."""
    base = Path(base)
    if not base.is_dir():
        return []
    return sorted(int(p.name) for p in base.iterdir() if p.is_dir() and _INTEGER.match(p.name))


def latest_version(root: str | Path, name: str) -> Path:
    """The folder of the newest version of the model `name`.

    Raises:
        InputError: there is none.
    """
    base = Path(root) / name
    found = versions(base)
    if not found:
        raise InputError(
            f"{base} must hold a version folder with a whole number as its name. Found: none. "
            f"Export the model {name!r} first."
        )
    return next(p for p in base.iterdir() if _INTEGER.match(p.name) and int(p.name) == found[-1])


def save_version(
    module: Any,
    signatures: Mapping[str, Any],
    root: str | Path,
    name: str,
    manifest: Mapping[str, Any],
    *,
    namespaces: Sequence[str] = (),
) -> Path:
    """Saves `module` as the next version of the model `name`.

    The folder is written beside under a name that is no number, which TF Serving does not
    look at, then renamed: a server that polls never sees half a version.

    Args:
        module: tf.Module that tracks everything that the signatures use.
        signatures: concrete functions by signature name.
        root: folder of all models.
        name: the model's name, as clients ask for it.
        manifest: what to keep in the version's `manifest.json`; versions of the packages
            and the signature names are added.
        namespaces: op namespaces beyond TensorFlow's that the graph may use, e.g.
            `("Scann",)`; TF Text's is always allowed.

    Returns:
        The new version's folder.
    """
    base = Path(root) / name
    target = base / str(max(versions(base), default=0) + 1)
    options = tf.saved_model.SaveOptions(namespace_whitelist=["TFText", *namespaces])
    with whole_folder(target) as beside:
        tf.saved_model.save(module, str(beside), signatures=dict(signatures), options=options)
        content = {
            "model": name,
            "version": int(target.name),
            "signatures": sorted(signatures),
            "versions": {package: package_version(package) for package in _PACKAGES},
            **manifest,
        }
        write_json(beside / MANIFEST, content)
    return target


class LoadedQueryTower(tf.Module):
    """The query tower of an exported SavedModel, callable and savable within another export.

    Its look-up tables and their asset files come along.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__(name="loaded_query_tower")
        self.model = tf.saved_model.load(str(folder))
        if "serving_default" not in self.model.signatures:
            raise InputError(
                f"{folder} must have the signature 'serving_default' of a query tower. "
                f"Found: {sorted(self.model.signatures)}."
            )

    def __call__(self, query: Tensor) -> Tensor:
        """float32 `[n, d]` embeddings of string `[n]` queries."""
        return self.model.signatures["serving_default"](query=query)["embedding"]


def as_query_tower(tower: Any) -> Any:
    """`tower` itself when it can be called, else the one saved in the folder that it names."""
    if callable(tower):
        return tower
    return LoadedQueryTower(tower)
