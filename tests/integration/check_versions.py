"""Loads exported models under other TensorFlows, without ScaNN and without this package.

    python -m tests.integration.check_versions [--tensorflow 2.20 --tensorflow 2.21]
        [--model saved_models/retrieval/1 ...] [--environments DIR]

For each version an environment of its own gets TensorFlow and TF Text of that version from the
package index, and nothing else (about 2 GB each; kept in DIR, else removed). Each model's warm-up
requests are answered there and in this environment, which must agree in ids and scores. Without
--model, `retrieval` is exported from 20,000 clustered vectors, so that its index is partitioned.

Prints one JSON object; exit 1 where an environment does not answer the same. No test of the suite:
it needs the package index and minutes.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tests.export.toy import TEXTS, KeywordTower, clustered
from tfrs_sage.export.retrieval import export_retrieval
from tfrs_sage.export.roundtrip import ask_fresh_process, compare, strangers_environment
from tfrs_sage.export.warmup import read_warmup

COUNT, DIMENSION = 20_000, 4
_TELL = """
import importlib.util, json
import tensorflow, tensorflow_text
absent = [n for n in ("scann", "keras_hub", "tfrs_sage") if importlib.util.find_spec(n) is None]
print(json.dumps({"tensorflow": tensorflow.__version__, "absent": absent,
                  "tensorflow_text": tensorflow_text.__version__}))
"""


def environment(folder: Path, version: str) -> str:
    """The Python of an environment with TensorFlow and TF Text of `version` alone."""
    python = folder / f"tensorflow-{version}" / "bin" / "python"
    if not python.is_file():
        uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
        wanted = [f"tensorflow=={version}.*", f"tensorflow-text=={version}.*"]
        subprocess.run([uv, "venv", "-q", "-p", sys.executable, python.parents[1]], check=True)
        subprocess.run([uv, "pip", "install", "-q", "-p", python, *wanted], check=True)
    return str(python)


def synthetic(folder: Path) -> Path:
    """A partitioned `retrieval` over clustered vectors."""
    ids = [f"p{row}" for row in range(COUNT)]
    vectors = clustered(COUNT, dimension=DIMENSION)
    return export_retrieval(KeywordTower(folder), vectors, ids, folder, TEXTS, check=False)


def check(version: str, python: str, models: list[Path]) -> dict[str, Any]:
    """What the environment is, and whether each model answers there as it does here."""
    told = subprocess.run(
        [python, "-P", "-c", _TELL],
        env=strangers_environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result: dict[str, Any] = {"wanted": version, **json.loads(told.stdout.splitlines()[-1])}
    questions = {str(model): read_warmup(model) for model in models}
    here = ask_fresh_process(questions)
    try:
        there = ask_fresh_process(questions, python=python)
        for folder, requests in questions.items():
            compare(folder, requests, there[folder], here[folder])
    except RuntimeError as error:
        return {**result, "same": False, "error": str(error)}
    scores = [
        float(np.abs(a["score"] - b["score"]).max())
        for folder in questions
        for a, b in zip(there[folder], here[folder], strict=True)
        if "score" in a
    ]
    return {**result, "same": True, "largest_difference_of_scores": max(scores, default=None)}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tensorflow", action="append", help="a version such as 2.21")
    parser.add_argument("--model", action="append", type=Path, help="folder of a version")
    parser.add_argument("--environments", type=Path, help="keep the environments here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        models = options.model or [synthetic(Path(scratch))]
        folder = options.environments or Path(scratch) / "environments"
        manifests = [json.loads((model / "manifest.json").read_text()) for model in models]
        result = {
            "models": [
                {"name": m["model"], "count": m.get("count"), "index": m.get("index")}
                for m in manifests
            ],
            "environments": [
                check(version, environment(folder, version), models)
                for version in options.tensorflow or ["2.20", "2.21"]
            ],
        }
    print(json.dumps(result, indent=2))
    return 0 if all(one["same"] for one in result["environments"]) else 1


if __name__ == "__main__":
    sys.exit(main())
