"""Finds exported versions: `<root>/<name>/<version>/`, a run's own or the newest of all."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrs_sage.artefacts import MANIFEST, read_manifest
from tfrs_sage.errors import InputError
from tfrs_sage.training.checkpoints import latest_checkpoint
from tfrs_sage.types import Tensor

_INTEGER = re.compile(r"^[0-9]+$")


def versions(base: str | Path) -> list[int]:
    """The version numbers under a model's folder, ascending; none where it is absent."""
    base = Path(base)
    if not base.is_dir():
        return []
    return sorted(int(p.name) for p in base.iterdir() if p.is_dir() and _INTEGER.match(p.name))


def run_source(run_dir: Path) -> dict[str, str]:
    """What the exports of a run have in their manifests, and those of no other training.

    Several runs may export into one folder, by turns. A run then reads its own newest version
    (`latest_version`), not the newest of all. Empty for a folder without a checkpoint.
    """
    newest = latest_checkpoint(Path(run_dir) / "checkpoints")
    return {} if newest is None else {"fingerprint": read_manifest(newest)["fingerprint"]}


def newest_version(root: str | Path, name: str, source: Mapping[str, Any]) -> Path | None:
    """The newest version of a model whose manifest has all of `source`; None for none."""
    base = Path(root) / name
    for number in reversed(versions(base)):
        folder = _folder(base, number)
        if not source:
            return folder
        if (folder / MANIFEST).is_file() and source.items() <= read_manifest(folder).items():
            return folder
    return None


def latest_version(root: str | Path, name: str, source: Mapping[str, Any] | None = None) -> Path:
    """The folder of the newest version of the model `name`.

    Args:
        root: folder of all models.
        name: the model's name.
        source: manifest fields that the version must have, such as `run_source`; None for the
            newest version of any run.

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
    folder = newest_version(root, name, source or {})
    if folder is None:
        wanted = ", ".join(f"{key} {value}" for key, value in (source or {}).items())
        raise InputError(
            f"{base} must hold a version of this run ({wanted}). Found: versions {found}, all of "
            f"another run or an earlier training. Export the model {name!r} of this run."
        )
    return folder


def _folder(base: Path, number: int) -> Path:
    """The folder of a version; its name may have leading zeros."""
    return next(p for p in base.iterdir() if _INTEGER.match(p.name) and int(p.name) == number)


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
