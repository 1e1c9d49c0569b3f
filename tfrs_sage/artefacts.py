"""Files and folders that appear whole or not at all; folders with a manifest of what they are."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tfrs_sage.errors import InputError

MANIFEST = "manifest.json"


def fingerprint(value: Any) -> str:
    """First 16 hex digits of the SHA-256 of `value` as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file as 64 hex digits, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def model_fingerprint(model_dir: str | Path) -> str:
    """16 hex digits over a SavedModel's files: graph, variables, assets.

    The manifest (which may hold times and versions) and TensorFlow's own `fingerprint.pb`
    (which holds a random id) are left out.
    """
    folder = Path(model_dir)
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.name not in (MANIFEST, "fingerprint.pb"):
            digest.update(f"{path.relative_to(folder)}\0{file_sha256(path)}\n".encode())
    return digest.hexdigest()[:16]


def write_json(path: Path, value: Any) -> None:
    """Writes `value` to a `whole_file`."""
    with whole_file(path) as beside:
        beside.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an artefact folder.

    Raises:
        InputError: there is none, so the step that makes the folder has not ended.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise InputError(
            f"{folder} must hold a {MANIFEST}, which the step that makes it writes last. "
            "Found: none. Run that step first."
        )
    manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return manifest


def require_same(folder: Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Refuses an artefact whose manifest differs from what its reader needs.

    Raises:
        InputError: naming every key of `expected` whose value in `found` differs.
    """
    differing = [
        f"{key} is {found.get(key)!r}, needed {value!r}"
        for key, value in expected.items()
        if found.get(key) != value
    ]
    if differing:
        raise InputError(
            f"{folder} does not fit what reads it: {'; '.join(differing)}. "
            "Make it again from the same run, or point at the run that it belongs to."
        )


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """A file that is written beside `target` and renamed onto it: a reader never sees half of it.

    Yields:
        The path to write to. After an error it is removed and `target` is as before.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        yield beside
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A folder that is filled beside `target` and renamed onto it at the end.

    Yields:
        The folder to fill. After an error it is removed and `target` is as before.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        yield beside
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    if target.exists():
        old = target.with_name(f".{target.name}.{os.getpid()}.old")
        target.rename(old)
        beside.rename(target)
        shutil.rmtree(old)
    else:
        beside.rename(target)
