"""The way of the data is one way: a room imports only rooms above it in this list."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BASE = ("artefacts", "errors", "lru_cache", "redis_client", "settings", "types")
ROOMS = (
    "schema",
    "datasets",
    "text",
    "vision",
    "layers",
    "towers",
    "losses",
    "tasks",
    "models",
    "evaluation",
    "users",
    "training",
    "index",
    "export",
    "report",
    "cli",
)
PACKAGES = ("tfrs_sage", "beam_pipelines", "serving")
# Beam and the server know models by their exported signatures only.
MODEL_ROOMS = ("layers", "towers", "losses", "tasks", "models", "training")
NO_TENSORFLOW = ("schema", "evaluation", "users")
TENSORFLOW = ("tensorflow", "tensorflow_text", "tensorflow_recommenders", "keras", "tf_keras")
TFRS_ROOMS = ("tasks", "index")


def imported_names(source: str, package: tuple[str, ...]) -> set[str]:
    """Full dotted names of everything that a file imports, anywhere in it.

    Args:
        source: Python source.
        package: parts of the name of the package that the file lies in.
    """
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            names.update(f"{module}.{alias.name}" for alias in node.names)
    return names


def room_of(name: str) -> str | None:
    """The room or base module of a dotted name within tfrs_sage; None outside of it."""
    parts = name.split(".")
    return parts[1] if parts[0] == "tfrs_sage" and len(parts) > 1 else None


def complaints(path: str, source: str) -> list[str]:
    """What a file imports against the rules; `path` is relative to the repository."""
    parts = Path(path).with_suffix("").parts
    package, room = parts[0], room_of(".".join(parts))
    found = []
    for name in sorted(imported_names(source, parts[:-1])):
        top, target = name.split(".")[0], room_of(name)
        if package == "tfrs_sage":
            if top in ("serving", "beam_pipelines") and room != "cli":
                found.append(f"{path} imports {name}: only cli does")
            if target in ROOMS and room in BASE:
                found.append(f"{path} imports {name}: a base module imports no room")
            if target in ROOMS and room in ROOMS and ROOMS.index(target) > ROOMS.index(room):
                found.append(f"{path} imports {name}: {target} is below {room}")
            if top in TENSORFLOW and room in NO_TENSORFLOW:
                found.append(f"{path} imports {name}: {room} works on numpy alone")
        elif target in (*MODEL_ROOMS, "cli"):
            found.append(f"{path} imports {name}: {package} reads SavedModels by signature")
        if top == "tensorflow_recommenders" and room not in TFRS_ROOMS:
            found.append(f"{path} imports {name}: only {' and '.join(TFRS_ROOMS)} do")
        if top == "scipy":
            found.append(f"{path} imports {name}: SciPy is for tests and benchmarks")
    return found


def test_no_back_edges():
    files = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
    assert len(files) > 20
    found = [
        complaint
        for file in files
        for complaint in complaints(str(file.relative_to(ROOT)), file.read_text("utf-8"))
    ]
    assert not found, "\n".join(found)


def test_every_room_is_in_the_list():
    folders = {file.parent.name for file in (ROOT / "tfrs_sage").glob("*/__init__.py")}
    modules = {file.stem for file in (ROOT / "tfrs_sage").glob("*.py")} - {"__init__", "__main__"}
    assert folders <= set(ROOMS)
    assert modules == set(BASE)


@pytest.mark.parametrize(
    ("path", "source", "wrong"),
    [
        ("tfrs_sage/losses/a.py", "from tfrs_sage.schema import features", False),
        ("tfrs_sage/losses/a.py", "from tfrs_sage import errors, types", False),
        ("tfrs_sage/losses/a.py", "from tfrs_sage.models import b", True),
        ("tfrs_sage/losses/a.py", "from tfrs_sage import models", True),
        ("tfrs_sage/losses/a.py", "from ..models.b import c", True),
        ("tfrs_sage/losses/a.py", "from . import b", False),
        ("tfrs_sage/losses/a.py", "def f():\n    import tfrs_sage.training.fit", True),
        ("tfrs_sage/errors.py", "import tfrs_sage.schema", True),
        ("tfrs_sage/cli/a.py", "import serving.server, beam_pipelines.embed", False),
        ("tfrs_sage/export/a.py", "import serving.server", True),
        ("tfrs_sage/training/a.py", "from beam_pipelines import embed", True),
        ("tfrs_sage/users/a.py", "import tensorflow as tf", True),
        ("tfrs_sage/users/a.py", "import numpy as np", False),
        ("tfrs_sage/users/a.py", "from scipy import cluster", True),
        ("tfrs_sage/index/a.py", "import tensorflow_recommenders as tfrs", False),
        ("tfrs_sage/models/a.py", "import tensorflow_recommenders as tfrs", True),
        ("serving/a.py", "from tfrs_sage.towers.product import ProductTower", True),
        ("beam_pipelines/a.py", "from tfrs_sage.text import ngram_tokens", False),
    ],
)
def test_the_rules_themselves(path, source, wrong):
    assert bool(complaints(path, source)) == wrong


def test_numpy_rooms_load_no_tensorflow():
    code = (
        "import sys, tfrs_sage.evaluation, tfrs_sage.users, tfrs_sage.schema\n"
        f"print([name for name in {TENSORFLOW!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
