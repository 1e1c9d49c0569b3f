"""Clients that others wrote, unchanged, against our server; and our light one on its own.

    python -m tests.integration.check_clients [--environments DIR]

Each client gets an environment of its own from the package index (some 100 MB each; kept in DIR,
else removed), without TensorFlow and without this package, but for the light client, which is read
from this checkout. There it asks three models of a server in this process over gRPC, and over REST
where it can: numbers, texts, metadata, status, a refusal.

Prints one JSON object; exit 1 where a client does not get what it should. No test of the suite: it
needs the package index.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from serving.models import LoadedModel
from serving.server import ModelServer
from serving.settings import ServerSettings
from serving.store import ModelStore
from tests.export.toy import KeywordTower, save_tower
from tests.serving.toys import HalfPlus, TextSearch

ROOT = Path(__file__).parents[2]
_TELL = """
import importlib.metadata, json, sys
import numpy as np
def tell(**found):
    installed = {one.name: one.version for one in importlib.metadata.distributions()}
    versions = {n: installed[n] for n in ("grpcio", "protobuf", "numpy")}
    print(json.dumps({**found, "versions": versions, "tensorflow": "tensorflow" in installed}))
grpc_port, rest_port = sys.argv[1:]
"""
_LIGHT = """
from serving.client import PredictClient
import grpc
with PredictClient(f"127.0.0.1:{grpc_port}") as client:
    try:
        client.predict("half", {"z": [1.0]})
    except grpc.RpcError as error:
        refused = error.code().name
    found = client.predict("search", {"query": ["red sofa"], "k": 2})["product_id"]
    tell(half=client.predict("half", {"x": [1.0, 2.0]})["y"].tolist(), refused=refused,
         tower=client.predict("tower", {"query": ["Red sofa"]})["embedding"].tolist(),
         search=found[0][0].decode(), status=client.status("half")[1],
         inputs=sorted(client.metadata("search")["serving_default"].inputs))
"""
_OVMSCLIENT = """
import ovmsclient
with_grpc = ovmsclient.make_grpc_client(f"127.0.0.1:{grpc_port}")
with_rest = ovmsclient.make_http_client(f"127.0.0.1:{rest_port}")
for client in (with_grpc, with_rest):
    try:
        client.predict({"z": np.float32([1])}, "half", 1)
    except ovmsclient.ModelServerError as error:
        refused = type(error).__name__
    about = client.get_model_metadata("search", 1)
    if "metadata" in about:  # over REST it passes TF Serving's answer on as it is
        about = about["metadata"]["signature_def"]["signature_def"]["serving_default"]
    tell(half=np.asarray(client.predict({"x": np.float32([1, 2])}, "half", 1)).tolist(),
         tower=np.asarray(client.predict({"query": ["Red sofa"]}, "tower", 1)).tolist(),
         status=client.get_model_status("half", 1)[1]["state"], refused=refused,
         inputs=sorted(about["inputs"]))
"""
_MIN_TFS_CLIENT = """
import grpc
from min_tfs_client.requests import TensorServingClient
from min_tfs_client.tensors import tensor_proto_to_ndarray
client = TensorServingClient("127.0.0.1", int(grpc_port))
try:
    client.predict_request("half", {"z": np.float32([1])})
except grpc.RpcError as error:
    refused = error.code().name
half = client.predict_request("half", {"x": np.float32([1, 2])}, model_version=1).outputs["y"]
tower = client.predict_request("tower", {"query": np.array(["Red sofa"])}).outputs["embedding"]
asked = {"query": np.array(["red sofa"]), "k": np.int32(2).reshape(())}
found = client.predict_request("search", asked).outputs["product_id"]
tell(half=tensor_proto_to_ndarray(half).tolist(), tower=tensor_proto_to_ndarray(tower).tolist(),
     search=found.string_val[0].decode(), refused=refused)
"""
# Name -> what is installed, and what is run. Old generated code refuses protobuf 4 and newer.
_CLIENTS = {
    "serving.client": (["numpy", "grpcio", "protobuf"], _LIGHT),
    "serving.client, protobuf 4.22": (["numpy", "grpcio", "protobuf==4.22.*"], _LIGHT),
    "ovmsclient": (["ovmsclient"], _OVMSCLIENT),
    "min-tfs-client": (["min-tfs-client", "protobuf<4"], _MIN_TFS_CLIENT),
}
_EXPECTED = {
    "half": [2.5, 3.0],
    "tower": [[1, 0, 0, 1]],
    "search": "red sofa",
    "status": "AVAILABLE",
    "inputs": ["k", "query"],
}
_REFUSED = ("INVALID_ARGUMENT", "InvalidInputError")


def environment(folder: Path, name: str, wanted: list[str]) -> Path:
    """The Python of an environment with these packages alone."""
    python = folder / name.replace(", ", "-").replace(" ", "-") / "bin" / "python"
    if not python.is_file():
        uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
        subprocess.run([uv, "venv", "-q", "-p", sys.executable, python.parents[1]], check=True)
        subprocess.run([uv, "pip", "install", "-q", "-p", python, *wanted], check=True)
    return python


def check(python: Path, program: str, server: ModelServer) -> dict[str, Any]:
    """What a client found, and whether all of it is right."""
    done = subprocess.run(
        [python, "-c", _TELL + program, str(server.port), str(server.rest_port)],
        cwd=ROOT if program is _LIGHT else "/",
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode:
        return {"same": False, "error": done.stderr[-1000:]}
    told = [json.loads(line) for line in done.stdout.splitlines()]
    same = all(
        all(one[key] == _EXPECTED[key] for key in _EXPECTED.keys() & one.keys())
        and one["refused"] in _REFUSED
        and not one["tensorflow"]
        for one in told
    )
    return {"same": same, "told": told}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--environments", type=Path, help="keep the environments here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.environments or Path(scratch) / "environments"
        HalfPlus(2.0).save(Path(scratch) / "half" / "1")
        TextSearch(Path(scratch)).save(Path(scratch) / "search" / "1")
        save_tower(KeywordTower(Path(scratch)), Path(scratch) / "tower" / "1")
        models = [
            LoadedModel(name, 1, Path(scratch) / name / "1") for name in ("half", "search", "tower")
        ]
        with ModelServer(ModelStore(models), ServerSettings(port=0, rest_port=0)) as server:
            result = {
                name: check(environment(folder, name, wanted), program, server)
                for name, (wanted, program) in _CLIENTS.items()
            }
    print(json.dumps(result, indent=2))
    return 0 if all(one["same"] for one in result.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
