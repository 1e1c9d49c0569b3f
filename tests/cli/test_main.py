"""The program's promises: quick help, exit codes, one JSON object on standard output."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from pydantic import BaseModel

from tests.conftest import Rows, write_tables
from tfrs_sage import __version__
from tfrs_sage.cli import main as program
from tfrs_sage.cli.main import VERBS, main
from tfrs_sage.cli.output import emit, results_only
from tfrs_sage.errors import InputError

HEAVY = ("tensorflow", "apache_beam", "pyarrow", "keras", "numpy", "pandas")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    script = "from tfrs_sage.cli.main import entry; entry()"
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from tfrs_sage.cli.main import main; main(['--help']); "
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr.splitlines()[-1] == "[]"
    for verb in VERBS:
        assert verb.replace("_", "-") in done.stdout


def test_help_answers_at_once() -> None:
    start = time.monotonic()
    assert run("--help").returncode == 0
    assert time.monotonic() - start < 5  # about 0.5 s; TensorFlow alone would take 5 to 7


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb.replace("_", "-"), "--help"]) == 0
    assert "Usage: tfrs-sage" in capsys.readouterr().out


def _commands(app: typer.Typer) -> list[tuple[str, list[str]]]:
    group = typer.main.get_command(app)
    found = []
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        for inner in getattr(command, "commands", {"": command}).values():
            options = [flag for parameter in inner.params for flag in parameter.opts]
            found.append((name, options))
    return found


def test_every_verb_takes_json() -> None:
    commands = _commands(program.app)
    assert len(commands) >= len(VERBS)
    for name, options in commands:
        assert "--json" in options, name


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["validate"],
        ["validate", "--inptu", "x"],
        ["validate", "--input", "x", "--limit", "0"],
        ["validate", "--input", "no/such/folder"],
    ],
)
def test_bad_usage_and_bad_input_are_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err != ""


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


class _Settings(BaseModel):
    epochs: int


def _verbs_that_end_otherwise() -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def bad_input(json: bool = False) -> None:
        print("noise")
        raise InputError("k must be positive. Received: k=0. Give another.")

    @app.command()
    def bad_config(json: bool = False) -> None:
        _Settings(epochs="many")  # type: ignore[arg-type]

    @app.command()
    def fails(json: bool = False) -> None:
        raise typer.Exit(1)

    @app.command()
    def bug(json: bool = False) -> None:
        raise RuntimeError("unforeseen")

    @app.command()
    def works(json: bool = False) -> None:
        print("noise")
        emit({"answer": 42}, json, "the answer is 42")

    return app


@pytest.fixture
def other_verbs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "app", _verbs_that_end_otherwise())


@pytest.mark.usefixtures("other_verbs")
@pytest.mark.parametrize(
    "verb,code", [("bad-input", 2), ("bad-config", 2), ("fails", 1), ("works", 0)]
)
def test_exit_codes(verb: str, code: int) -> None:
    assert main([verb]) == code


@pytest.mark.usefixtures("other_verbs")
def test_an_unforeseen_error_keeps_its_trace() -> None:
    with pytest.raises(RuntimeError, match="unforeseen"):
        main(["bug"])


@pytest.mark.usefixtures("other_verbs")
def test_json_is_alone_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["works", "--json"]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == ('{"answer": 42}\n', "noise\n")
    assert main(["works"]) == 0
    assert capsys.readouterr().out == "noise\nthe answer is 42\n"


@pytest.mark.usefixtures("other_verbs")
def test_bad_input_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bad-input", "--json"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out) == {"error": "k must be positive. Received: k=0. Give another."}
    assert "k must be positive" in err


def test_results_only_ends_after_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), results_only():
        raise KeyError
    print("again")
    assert capsys.readouterr().out == "again\n"


def test_results_must_be_plain_data() -> None:
    with pytest.raises(TypeError, match=r"plain data\. Received: object"):
        emit({"x": object()}, as_json=True)


def test_the_process_keeps_descriptor_1_for_the_result(tables: Path) -> None:
    script = (
        "import os, sys; from tfrs_sage.cli import main as program\n"
        "from tfrs_sage.cli.output import emit\n"
        "def noisy(report, as_json, *human):\n"
        "    os.write(1, b'from C++'); os.system('echo from a worker'); emit(report, as_json)\n"
        "import tfrs_sage.cli.validate as validate; validate.emit = noisy\n"
        f"sys.argv = ['tfrs-sage', 'validate', '--input', {str(tables)!r}, '--json']\n"
        "program.entry()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(done.stdout)["ok"] is True
    assert "from C++" in done.stderr and "from a worker" in done.stderr


def test_the_process_ends_with_the_code(tmp_path: Path, table_rows: Rows) -> None:
    table_rows["judgments"][0]["relevance"] = None
    folder = write_tables(tmp_path, table_rows)
    done = run("validate", "--input", str(folder), "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["num_problems"] == 1
