"""The linter of stock TF Serving's files: each rule broken once, and the shipped files whole."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from serving.tfserving.lint import lint, parse_volume
from serving.tfserving.parameters import batching_problems
from tfrs_sage.cli.main import main
from tfrs_sage.errors import InputError

SHIPPED = Path(__file__).parents[2] / "serving" / "tfserving"
BATCHING = "max_batch_size { value: 8 }\nallowed_batch_sizes: [1, 8]\n"


def _version(root: Path, name: str, number: int | str, batchable: bool = False) -> Path:
    folder = root / name / str(number)
    for file in (
        "saved_model.pb",
        "variables/variables.index",
        "assets.extra/tf_serving_warmup_requests",
    ):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b"")
    (folder / "manifest.json").write_text(json.dumps({"versions": {"tensorflow": "2.20.0"}}))
    if batchable:
        (folder / "batching_params.pbtxt").write_text(BATCHING)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Exported models: towers, and `retrieval` in three versions."""
    for name in ("query_tower", "product_tower", "pin_tower"):
        _version(tmp_path / "saved_models", name, 1, batchable=True)
    for number in (1, 2, 3):
        _version(tmp_path / "saved_models", "retrieval", number)
    (tmp_path / "saved_models" / "retrieval" / ".4.123").mkdir()  # being written
    return tmp_path / "saved_models"


def _problems(root: Path, models: str, **files: str) -> list[str]:
    """Problems of a folder with these files beside `models.config`."""
    folder = root.parent / "config"
    folder.mkdir()
    (folder / "models.config").write_text(f"model_config_list {{ {models} }}")
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return lint(folder, {"/models": root})


def _model(more: str = "", name: str = "retrieval", base: str = "/models/retrieval") -> str:
    return f'config {{ name: "{name}" base_path: "{base}" model_platform: "tensorflow" {more} }}'


def test_the_shipped_files_fit_what_export_writes(root, capsys) -> None:
    assert lint(SHIPPED, {"/models": root}) == []
    arguments = ["export", "--lint", str(SHIPPED), "--volume", f"{root}:/models"]
    assert main(arguments) == 0
    assert "nothing to mend" in capsys.readouterr().out
    shutil.rmtree(root / "pin_tower")
    assert main([*arguments, "--json"]) == 2
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert "'pin_tower'" in problem and "take it out of the list" in problem


@pytest.mark.parametrize(
    ("models", "told"),
    [
        ("", "at least one model. Found: none"),
        (_model() + _model(), "listed once. Found: 'retrieval' 2 times"),
        (_model(base="models/retrieval"), "absolute base_path, as the server sees it. Found: 'mod"),
        (_model(name=""), "every model must have a name. Found: none for '/models/retrieval'"),
        (_model().replace("tensorflow", "torch"), "model_platform \"tensorflow\". Found: 'torch'"),
        (_model(base="/models/nothing"), "/models/nothing must exist"),
        (_model(base="/models/retrieval/1"), "Found: a model itself. Name the folder above it"),
        (_model(base="/models"), "must hold version folders such as 1/. Found: none"),
        (
            _model("model_version_policy { specific { versions: 9 } }"),
            r"versions that exist. Found: 9, there are [1, 2, 3]",
        ),
        (
            _model('version_labels { key: "stable" value: 9 }'),
            "label 'stable' must name a version that exists. Found: 9",
        ),
        (
            _model('version_labels { key: "stable" value: 2 }'),  # only the newest is loaded
            "a version that is loaded, or the server refuses the file. Found: 2; "
            "model_version_policy loads [3]",
        ),
    ],
)
def test_a_wrong_list_of_models(root, models: str, told: str) -> None:
    problems = _problems(root, models)
    assert any(told in problem for problem in problems), problems


@pytest.mark.parametrize(
    "policy",
    ["specific { versions: 2 versions: 3 }", "all { }", "latest { num_versions: 2 }"],
)
def test_labels_of_loaded_versions_are_right(root, policy: str) -> None:
    labels = 'version_labels { key: "stable" value: 2 } version_labels { key: "new" value: 3 }'
    assert _problems(root, _model(f"model_version_policy {{ {policy} }} {labels}")) == []


def test_unknown_fields_and_missing_files_are_refused(root) -> None:
    with pytest.raises(InputError, match='no field named "basepath"'):
        _problems(root, 'config { basepath: "/models" }')
    with pytest.raises(InputError, match=r"models\.config must be a file of TF Serving's"):
        lint(root, {})


def test_versions_must_be_whole_numbered_and_warm(root) -> None:
    (root / "retrieval" / "3" / "variables" / "variables.index").unlink()
    (root / "retrieval" / "3" / "assets.extra" / "tf_serving_warmup_requests").unlink()
    _version(root, "retrieval", "v4")
    problems = _problems(root, _model())
    assert len(problems) == 3
    assert "Found: 'v4', which is never served" in problems[0]
    assert "retrieval/3: a version must be whole. Found: no variables/variables" in problems[1]
    assert "should have assets.extra/tf_serving_warmup_requests" in problems[2]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("max_batch_size { value: 8 } allowed_batch_sizes: [1, 4]", "last entry was 4; expected 8"),
        ("allowed_batch_sizes: [1, 4]", "last entry was 4; expected one, and none"),
        (
            "max_batch_size { value: 8 } allowed_batch_sizes: [4, 1, 8]",
            "increasing, from 1. Found: [4, 1, 8]",
        ),
        ("num_batch_threads { value: 0 }", "num_batch_threads must be at least 1. Found: 0"),
        ("max_execution_batch_size { value: 4 }", "is heeded with enable_large_batch_splitting"),
        (
            "enable_large_batch_splitting { value: true } max_execution_batch_size { value: 9 } "
            "max_batch_size { value: 8 }",
            "at most max_batch_size. Found: 9 and 8",
        ),
        (
            "enable_large_batch_splitting { value: true } max_execution_batch_size { value: 4 } "
            "max_batch_size { value: 8 } allowed_batch_sizes: [1, 8]",
            "max_execution_batch_size=4 must be one of allowed_batch_sizes",
        ),
    ],
)
def test_wrong_batching(tmp_path, text: str, told: str) -> None:
    path = tmp_path / "batching.txt"
    path.write_text(text)
    (problem,) = batching_problems(path)
    assert told in problem
    path.write_text("max_batch_size: 8")  # a wrapper message, not a number
    with pytest.raises(InputError, match="text proto of the type BatchingParameters"):
        list(batching_problems(path))


def test_flags_and_image_must_fit_the_models(root) -> None:
    services = {
        "old": {"image": "tensorflow/serving:2.19.1", "command": ["--batching_parameters_file=b"]},
        "any": {"image": "tensorflow/serving", "command": ["--enable_batching"]},
    }
    problems = _problems(root, _model(), compose__yaml=yaml.safe_dump({"services": services}))
    assert len(problems) == 4
    assert "'any'" in problems[0] and "whose calls cannot be joined" in problems[0]
    assert "must be pinned to a version. Found: 'tensorflow/serving'" in problems[1]
    assert "--batching_parameters_file needs --enable_batching" in problems[2]
    assert "Found: tensorflow/serving:2.19.1, and TensorFlow 2.20.0" in problems[3]


def test_monitoring_is_read_too(root) -> None:
    text = 'prometheus_config { path: "metrics" }'
    problems = _problems(root, _model(), monitoring__config=text)
    assert ["begins with '/'" in problems[0], "no metrics are told" in problems[1]] == [True] * 2


def test_what_export_puts_beside_a_tower_passes(tmp_path) -> None:
    from tfrs_sage.export.save import BATCHING

    (tmp_path / "batching_params.pbtxt").write_text(BATCHING)
    assert list(batching_problems(tmp_path / "batching_params.pbtxt")) == []


def test_volumes_are_written_as_docker_writes_them() -> None:
    assert parse_volume("a/b:/models") == ("/models", Path("a/b"))
    for text in ("a", ":/models", "a:models"):
        with pytest.raises(InputError, match="written HOST_FOLDER:/PATH"):
            parse_volume(text)
