"""Printed requests are sent as they are to a real server, which must answer as the model does."""

import base64
import json
import shlex
import subprocess
import sys
import urllib.request

import numpy as np
import pytest

from serving.models import LoadedModel
from serving.server import ModelServer
from serving.settings import ServerSettings
from serving.store import ModelStore
from tests.export.toy import IDS, TEXTS, VECTORS, KeywordTower
from tfrs_sage.artefacts import read_manifest
from tfrs_sage.errors import InputError
from tfrs_sage.export.request_example import request_examples
from tfrs_sage.export.retrieval import export_retrieval
from tfrs_sage.export.warmup import Request, write_warmup


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    return export_retrieval(KeywordTower(folder), VECTORS, IDS, folder, TEXTS)


@pytest.fixture(scope="module")
def server(version):
    store = ModelStore([LoadedModel("retrieval", 1, version)])
    with ModelServer(store, ServerSettings(port=0, rest_port=0)) as server:
        yield server


def test_every_signature_is_answered_as_printed(version, server) -> None:
    addresses = {
        "rest": f"127.0.0.1:{server.rest_port}",
        "grpc": f"127.0.0.1:{server.port}",
    }
    examples = {one["signature"]: one for one in request_examples(version, **addresses)}
    assert {"search", "similar", "recommend"} <= set(examples)
    found = {}
    for signature, one in examples.items():
        program, *arguments, address = shlex.split(one["curl"])
        assert (program, arguments[:2]) == ("curl", ["-sS", "-d"])
        assert arguments[2] == one["body"]
        with urllib.request.urlopen(address, one["body"].encode(), timeout=30) as response:
            found[signature] = json.loads(response.read())["outputs"]
    ids = found["search"]["product_id"]
    assert len(ids) == 1 and ids[0][0] == "red sofa"  # what TEXTS[0] asks for
    # The Python lines need nothing but what they import.
    program = "\n\n".join(one["python"] for one in examples.values())
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    ).stdout.splitlines()
    shapes = [eval(line) for line in printed]
    for one, outputs in zip(shapes, found.values(), strict=True):
        assert one == {name: np.shape(values) for name, values in outputs.items()}


def test_bytes_and_numbers_come_back_as_they_were(tmp_path, version) -> None:
    folder = tmp_path / "1"
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps(read_manifest(version) | {"model": "toy"}))
    numbers = np.array([[0.1, np.pi, 1e-30]], np.float32)
    texts = np.array(["grün".encode(), b"\xff\x00"], object)
    zeros = np.zeros((1, 20, 256), np.float32)
    inputs = {"numbers": numbers, "texts": texts, "k": np.array(7, np.int32), "images": zeros}
    write_warmup(folder, "toy", [Request("one", inputs)])
    (example,) = request_examples(folder)
    sent = json.loads(example["body"])["inputs"]
    assert np.array_equal(np.array(sent["numbers"]).astype(np.float32), numbers)
    assert sent["texts"][0] == "grün"
    assert base64.b64decode(sent["texts"][1]["b64"]) == b"\xff\x00"
    assert sent["k"] == 7
    assert len(example["python"]) < 1000  # the zeros are not written out
    literal = example["python"].split("'toy',\n")[1].split(",\n        signature")[0]
    again = eval(literal, {"np": np})
    for name, array in inputs.items():
        assert again[name].dtype == array.dtype and np.array_equal(again[name], array), name


def test_without_a_warmup_there_is_nothing_to_show(tmp_path) -> None:
    folder = tmp_path / "1"
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps({"model": "toy"}))
    with pytest.raises(InputError, match="must have warm-up requests"):
        request_examples(folder)
