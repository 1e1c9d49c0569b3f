"""Which models are served, and which of their versions: TF Serving's `model_config_list`."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from tensorflow_serving.config import model_server_config_pb2

from serving.models import version_folders
from serving.tfserving.parameters import parse_text
from tfrs_sage.errors import InputError


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """One model.

    Attributes:
        name: what clients ask for.
        base_path: holds the version folders.
        policy: `latest` (the newest `num_versions`), `all`, or `specific` (those of `versions`).
        labels: version numbers by label.
    """

    name: str
    base_path: Path
    policy: Literal["latest", "all", "specific"] = "latest"
    num_versions: int = 1
    versions: tuple[int, ...] = ()
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def wanted(self, found: Iterable[int]) -> list[int]:
        """The versions to be served of those that are there, rising."""
        there = sorted(found)
        if self.policy == "specific":
            return [version for version in there if version in self.versions]
        return there if self.policy == "all" else there[-self.num_versions :]


def read_model_config(path: str | Path) -> list[ModelConfig]:
    """The models of a `--model_config_file`.

    Raises:
        InputError: no such file, or not what TF Serving takes.
    """
    path = Path(path)
    config = parse_text(path, model_server_config_pb2.ModelServerConfig())
    try:
        return from_proto(config)
    except InputError as e:
        raise InputError(f"{path}: {e}") from e


def from_proto(config: model_server_config_pb2.ModelServerConfig) -> list[ModelConfig]:
    """The models of a `ModelServerConfig`.

    Raises:
        InputError: with TF Serving's words where it has some.
    """
    if config.WhichOneof("config") == "custom_model_config":
        raise InputError(
            "ServerModelConfig type not supported by HandleReloadConfigRequest. Only "
            "ModelConfigList is currently supported"
        )
    models = [_model(one) for one in config.model_config_list.config]
    seen: set[str] = set()
    for model in models:
        if model.name in seen:
            raise InputError(f"Illegal to list model {model.name} multiple times in config list")
        seen.add(model.name)
    return models


def _model(one: Any) -> ModelConfig:
    if not one.name:
        raise InputError(f"every model must have a name. Received: none for {one.base_path!r}.")
    if not one.model_platform:
        raise InputError(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            f"ModelServerConfig::model_platform, model name is {one.name}"
        )
    if one.model_platform != "tensorflow":
        raise InputError(
            f'model {one.name!r} must have model_platform: "tensorflow". Received: '
            f"{one.model_platform!r}."
        )
    base_path = Path(one.base_path)
    if not base_path.is_absolute():
        raise InputError(
            f"Expected model {one.name} to have an absolute path or URI; got "
            f"base_path()={one.base_path}"
        )
    about = {"name": one.name, "base_path": base_path, "labels": dict(one.version_labels)}
    policy = one.model_version_policy
    choice = policy.WhichOneof("policy_choice")
    if choice == "specific":
        if not policy.specific.versions:
            raise InputError(
                f"model {one.name!r}: the policy `specific` must name a version. Received: none."
            )
        return ModelConfig(**about, policy="specific", versions=tuple(policy.specific.versions))
    if choice == "all":
        return ModelConfig(**about, policy="all")
    return ModelConfig(**about, num_versions=max(1, policy.latest.num_versions))


def models_of_folder(root: str | Path) -> list[ModelConfig]:
    """The models of a `saved_models` folder: the newest version of each.

    Folders without a version in them (an export that was interrupted) are passed over.

    Raises:
        InputError: no model in it.
    """
    root = Path(root)
    bases: Sequence[Path] = sorted(p for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
    models = [ModelConfig(base.name, base) for base in bases if version_folders(base)]
    if not models:
        raise InputError(
            f"{root} must hold models as <name>/<version>/. Found: none. Run export first."
        )
    return models
