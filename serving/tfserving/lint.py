"""Whether the files of a stock TF Serving and the exported models fit together.

Each rule is one at which a server fails to start, waits without a word, or answers from a model
that was not meant (TF Serving's `server_core.cc`, `bundle_factory_util.cc`,
`file_system_storage_path_source.cc`). No server is needed.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from tensorflow_serving.config import model_server_config_pb2

from serving.tfserving.parameters import batching_problems, monitoring_problems, parse_text
from tfrs_sage.errors import InputError

MODELS, BATCHING, MONITORING = "models.config", "batching_parameters.txt", "monitoring.config"
COMPOSE = "compose.yaml"
PER_VERSION_BATCHING = "batching_params.pbtxt"
WARMUP = "assets.extra/tf_serving_warmup_requests"
_NUMBER = re.compile(r"^[0-9]+$")
_URI = re.compile(r"^[a-z][a-z0-9+.-]*://")


def lint(folder: str | Path, volumes: Mapping[str, Path]) -> list[str]:
    """Every problem of the files in a folder, each with the way out.

    Args:
        folder: holds `models.config` and, where they are used, `batching_parameters.txt`,
            `monitoring.config` and `compose.yaml`.
        volumes: host folders by the path at which the server sees them, e.g.
            `{"/models": Path("saved_models")}`.

    Raises:
        InputError: no `models.config`, or a file that does not parse.
    """
    folder = Path(folder)
    config = parse_text(folder / MODELS, model_server_config_pb2.ModelServerConfig())
    models = list(config.model_config_list.config)
    problems = list(_list_problems(folder / MODELS, models))
    loaded: list[Path] = []
    for model in models:
        base = _on_host(model.base_path, volumes)
        if base is not None:
            problems += _model_problems(model, base, loaded)
    for version in loaded:
        problems += _version_problems(version)
    if (folder / BATCHING).is_file():
        problems += batching_problems(folder / BATCHING)
    if (folder / MONITORING).is_file():
        problems += monitoring_problems(folder / MONITORING)
    if (folder / COMPOSE).is_file():
        problems += _compose_problems(folder / COMPOSE, loaded)
    return problems


def _list_problems(path: Path, models: list[Any]) -> Iterator[str]:
    """What is wrong with the list alone."""
    if not models:
        yield f"{path}: model_config_list must name at least one model. Found: none."
    names = [model.name for model in models]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{path}: a model may be listed once. Found: {name!r} {names.count(name)} times."
    for model in models:
        if not model.name:
            yield f"{path}: every model must have a name. Found: none for {model.base_path!r}."
        if model.model_platform != "tensorflow":
            yield (
                f'{path}: model {model.name!r} must have model_platform "tensorflow". Found: '
                f"{model.model_platform!r}."
            )
        if not (_URI.match(model.base_path) or PurePosixPath(model.base_path).is_absolute()):
            yield (
                f"{path}: model {model.name!r} must have an absolute base_path, as the server sees "
                f"it. Found: {model.base_path!r}."
            )


def _on_host(base_path: str, volumes: Mapping[str, Path]) -> Path | None:
    """Where the server's path lies on this machine; None for what cannot be looked at."""
    path = PurePosixPath(base_path)
    for mounted, host in volumes.items():
        if path.is_relative_to(mounted):
            return Path(host) / path.relative_to(mounted)
    return Path(base_path) if path.is_absolute() else None


def _model_problems(model: Any, base: Path, loaded: list[Path]) -> Iterator[str]:
    """What is wrong with a model's folder; adds the versions that would be loaded."""
    where = f"model {model.name!r}"
    if not base.is_dir():
        yield (
            f"{where}: base_path {model.base_path} must exist ({base} on this machine), or the "
            "server waits for it. Found: no folder. Export the model, or take it out of the list."
        )
        return
    children = sorted(child for child in base.iterdir() if child.is_dir())
    versions = {int(c.name): c for c in children if _NUMBER.match(c.name)}
    for child in children:
        named_wrong = not _NUMBER.match(child.name) and not child.name.startswith(".")
        if named_wrong and (child / "saved_model.pb").is_file():
            yield (
                f"{where}: a version folder must have a whole number as its name. Found: "
                f"{child.name!r}, which is never served. Rename it."
            )
    if not versions:
        version_itself = (base / "saved_model.pb").is_file()
        yield (
            f"{where}: base_path {model.base_path} must hold version folders such as 1/. Found: "
            + ("a model itself. Name the folder above it." if version_itself else "none.")
        )
        return
    chosen = _chosen(model.model_version_policy, versions)
    loaded.extend(versions[number] for number in chosen if number in versions)
    for number in chosen:
        if number not in versions:
            yield (
                f"{where}: model_version_policy must name versions that exist. Found: {number}, "
                f"there are {sorted(versions)}."
            )
    for label, number in sorted(model.version_labels.items()):
        if number not in versions:
            yield (
                f"{where}: label {label!r} must name a version that exists. Found: {number}, "
                f"there are {sorted(versions)}."
            )
        elif number not in chosen:
            yield (
                f"{where}: label {label!r} must name a version that is loaded, or the server "
                f"refuses the file. Found: {number}; model_version_policy loads {chosen}. Name "
                "both in `specific`."
            )


def _chosen(policy: Any, versions: Mapping[int, Path]) -> list[int]:
    """The versions that a policy loads; the newest one where there is no policy."""
    choice = policy.WhichOneof("policy_choice")
    if choice == "specific":
        return sorted(policy.specific.versions)
    if choice == "all":
        return sorted(versions)
    return sorted(versions)[-max(1, policy.latest.num_versions) :]


def _version_problems(folder: Path) -> Iterator[str]:
    """What is wrong with a version that would be loaded."""
    for name in ("saved_model.pb", "variables/variables.index"):
        if not (folder / name).is_file():
            yield (
                f"{folder}: a version must be whole. Found: no {name}. Copy it beside under a name "
                "that is no number and rename it at the end, or export it again."
            )
    if not (folder / WARMUP).is_file():
        yield (
            f"{folder}: a version should have {WARMUP}, or its first calls are slow. Found: none. "
            "Export it again."
        )
    if (folder / PER_VERSION_BATCHING).is_file():
        yield from batching_problems(folder / PER_VERSION_BATCHING)


def _compose_problems(path: Path, loaded: list[Path]) -> Iterator[str]:
    """What is wrong with the flags and the image of a compose file."""
    services = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("services", {})
    for name, service in services.items():
        flags = {str(flag).removeprefix("--").split("=")[0] for flag in service.get("command", [])}
        where = f"{path}, service {name!r}"
        batching = "enable_batching" in flags
        for flag in ("batching_parameters_file", "enable_per_model_batching_parameters"):
            if flag in flags and not batching:
                yield f"{where}: --{flag} needs --enable_batching. Found: the first alone."
        if batching and "enable_per_model_batching_parameters" not in flags:
            for folder in loaded:
                if not (folder / PER_VERSION_BATCHING).is_file():
                    yield (
                        f"{where}: with --enable_batching alone all models are batched. Found: "
                        f"{folder}, whose calls cannot be joined: it would fail its warm-up. Add "
                        "--enable_per_model_batching_parameters."
                    )
        yield from _image_problems(where, str(service.get("image", "")), loaded)


def _image_problems(where: str, image: str, loaded: list[Path]) -> Iterator[str]:
    match = re.search(r":(\d+)\.(\d+)", image)
    if match is None:
        yield f"{where}: the image must be pinned to a version. Found: {image!r}."
        return
    server = (int(match[1]), int(match[2]))
    for folder in loaded:
        manifest = folder / "manifest.json"
        if not manifest.is_file():
            continue
        made_by = json.loads(manifest.read_text(encoding="utf-8"))["versions"]["tensorflow"]
        needed = tuple(int(part) for part in made_by.split(".")[:2])
        if server < needed:
            yield (
                f"{where}: the server must be as new as the TensorFlow that exported the models. "
                f"Found: {image}, and TensorFlow {made_by} for {folder}."
            )


def parse_volume(text: str) -> tuple[str, Path]:
    """`HOST:PATH`, as Docker writes a volume.

    Raises:
        InputError: it is not written so.
    """
    host, colon, mounted = text.rpartition(":")
    if not (host and colon and mounted.startswith("/")):
        raise InputError(
            "a volume is written HOST_FOLDER:/PATH/IN/CONTAINER, e.g. saved_models:/models. "
            f"Received: {text!r}."
        )
    return mounted, Path(host)
