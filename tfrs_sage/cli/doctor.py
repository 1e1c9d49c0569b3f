"""`tfrs-sage doctor`: whether this machine and its packages fit together."""

import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import typer

from tfrs_sage.cli.output import JsonOption, emit

PACKAGES = (
    "tensorflow",
    "tensorflow-text",
    "tf-keras",
    "tensorflow-serving-api",
    "tensorflow-recommenders",
    "scann",
    "keras",
    "keras-hub",
    "apache-beam",
    "numpy",
    "pyarrow",
)
# These are compiled against one minor version of TensorFlow, or follow its internals.
FOLLOW_TENSORFLOW = ("tensorflow-text", "tf-keras", "tensorflow-serving-api")
# ScaNN's ops are compiled against one minor version of TensorFlow: its own `tf` extra says which.
SCANN_TENSORFLOW = {"1.4.2": "2.20"}
PYTHONS = ("3.11", "3.12")
CPU_FLAGS = ("avx2", "fma", "avx512f")


def doctor(json: JsonOption = False) -> None:
    """Tell versions, CPU flags, memory and GPUs, and check the pairs that must match.

    Exit code 1 when something does not fit.
    """
    versions = {name: _version(name) for name in PACKAGES}
    gpus, tensorflow_error = _gpus()
    mismatches = find_mismatches(versions, platform.python_version(), dict(os.environ))
    if tensorflow_error:
        mismatches.append(f"TensorFlow must import. Found: {tensorflow_error}.")
    result = {
        "ok": not mismatches,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions,
        "cpu_count": os.cpu_count(),
        "cpu_flags": cpu_flags(_read("/proc/cpuinfo")),
        "memory_gib": memory_gib(_read("/proc/meminfo")),
        "gpus": gpus,
        "TF_USE_LEGACY_KERAS": os.environ.get("TF_USE_LEGACY_KERAS"),
        "mismatches": mismatches,
    }
    emit(result, json, *_told(result))
    if mismatches:
        raise typer.Exit(1)


def find_mismatches(
    versions: Mapping[str, str | None], python: str, environment: Mapping[str, str]
) -> list[str]:
    """The rules that these versions break, each with the way out.

    Args:
        versions: of the packages; None for one that is not installed.
        python: version of Python.
        environment: variables of the process.
    """
    told = []
    if _minor(python) not in PYTHONS:
        told.append(
            f"Python must be {' or '.join(PYTHONS)}. Found: {python}. Make the environment anew."
        )
    tensorflow = versions.get("tensorflow")
    for name, version in versions.items():
        if version is None:
            told.append(f"{name} must be installed. Found: nothing. Install requirements.lock.")
        elif tensorflow and name in FOLLOW_TENSORFLOW and _minor(version) != _minor(tensorflow):
            told.append(_unlike(name, version, _minor(version), tensorflow))
    scann = versions.get("scann")
    if scann and tensorflow and scann not in SCANN_TENSORFLOW:
        known = ", ".join(
            f"{key} with TensorFlow {value}" for key, value in SCANN_TENSORFLOW.items()
        )
        told.append(f"scann must be a version that was tried ({known}). Found: {scann}.")
    elif scann and tensorflow and SCANN_TENSORFLOW[scann] != _minor(tensorflow):
        told.append(_unlike("scann", scann, SCANN_TENSORFLOW[scann], tensorflow))
    if environment.get("TF_USE_LEGACY_KERAS") != "1":
        found = environment.get("TF_USE_LEGACY_KERAS")
        told.append(f"TF_USE_LEGACY_KERAS must be 1. Found: {found!r}. Import tfrs_sage first.")
    return told


def _unlike(name: str, version: str, needed: str, tensorflow: str) -> str:
    return (
        f"{name} {version} needs TensorFlow {needed}. Found: TensorFlow {tensorflow}. "
        "Install requirements.lock."
    )


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _gpus() -> tuple[list[str], str | None]:
    """Names of the GPUs that TensorFlow sees, and why it does not import, if so."""
    try:
        import tensorflow as tf
    except ImportError as error:
        return [], str(error)
    return [device.name for device in tf.config.list_physical_devices("GPU")], None


def _read(path: str) -> str:
    """A file of /proc; empty on systems without."""
    return Path(path).read_text(encoding="utf-8") if Path(path).exists() else ""


def cpu_flags(cpuinfo: str) -> dict[str, bool | None]:
    """Which of the instruction sets that matter the CPU has; None where it is not told."""
    lines = [line for line in cpuinfo.splitlines() if line.split(":")[0].strip() == "flags"]
    if not lines:
        return dict.fromkeys(CPU_FLAGS)
    flags = lines[0].split(":", 1)[1].split()
    return {name: name in flags for name in CPU_FLAGS}


def memory_gib(meminfo: str) -> dict[str, float | None]:
    """Total and available memory in GiB; None where it is not told."""
    kib = {line.split(":")[0]: int(line.split()[1]) for line in meminfo.splitlines() if ":" in line}

    def gib(name: str) -> float | None:
        return round(kib[name] / 2**20, 1) if name in kib else None

    return {"total": gib("MemTotal"), "available": gib("MemAvailable")}


def _told(result: Mapping[str, Any]) -> list[Any]:
    from rich.table import Table

    table = Table(show_header=False, box=None)
    rows = {**result, **result["packages"]}
    for key in ("packages", "mismatches", "ok"):
        del rows[key]
    for key, value in rows.items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{name} {'?' if v is None else v}" for name, v in value.items())
        elif isinstance(value, list):
            value = ", ".join(value) or "none"
        table.add_row(key, "not installed" if value is None else str(value))
    return [table, *(f"mismatch: {text}" for text in result["mismatches"] or ["none"])]
