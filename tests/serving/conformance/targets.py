"""The servers that the pairs are held against: ours, and a real one where there is one."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import grpc
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from serving.manager import ModelManager
from serving.metrics import ServingMetrics
from serving.model_config import read_model_config
from serving.server import ModelServer
from serving.settings import ServerSettings
from serving.store import ModelStore
from serving.warmup import replay
from tests.serving.ports import free_port
from tests.serving.toys import HalfPlus, OfExamples

TF_MODEL_SERVER = os.environ.get("TF_MODEL_SERVER", "")
NAMES = ("ours", "tf_serving")
START_S = 120.0
MODELS = """model_config_list {{
  config {{
    name: "half" base_path: "{root}/half" model_platform: "tensorflow"
    model_version_policy {{ all {{}} }} version_labels {{ key: "stable" value: 1 }}
  }}
  config {{ name: "examples" base_path: "{root}/examples" model_platform: "tensorflow" }}
}}
"""


class Target(NamedTuple):
    """A running server."""

    name: str
    root: Path
    port: int
    rest_port: int


def save_models(root: Path) -> None:
    """`half/1` adds 2 (half plus two), `half/3` adds 3; `examples/1` takes `tf.Example`s."""
    HalfPlus(2.0).save(root / "half" / "1")
    HalfPlus(3.0).save(root / "half" / "3")
    OfExamples().save(root / "examples" / "1")
    (root / "models.config").write_text(MODELS.format(root=root))
    (root / "monitoring.config").write_text("prometheus_config { enable: true }")


@contextmanager
def running(name: str, root: Path) -> Iterator[Target]:
    """A server of the models of `save_models`."""
    with (_ours if name == "ours" else _tf_serving)(root) as target:
        yield target


@contextmanager
def _ours(root: Path) -> Iterator[Target]:
    store, metrics = ModelStore(), ServingMetrics()
    manager = ModelManager(store, replay)
    manager.configure(read_model_config(root / "models.config"))
    settings = ServerSettings(port=0, rest_port=0, metrics_path="/monitoring/prometheus/metrics")
    with ModelServer(store, settings, metrics=metrics, configure=manager.configure) as server:
        yield Target("ours", root, server.port, server.rest_port)


@contextmanager
def _tf_serving(root: Path) -> Iterator[Target]:
    port, rest_port = free_port(), free_port()
    command = [
        TF_MODEL_SERVER,
        f"--port={port}",
        f"--rest_api_port={rest_port}",
        f"--model_config_file={root}/models.config",
        f"--monitoring_config_file={root}/monitoring.config",
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        _wait(port, process)
        yield Target("tf_serving", root, port, rest_port)
    finally:
        process.terminate()
        process.wait(START_S)


def _wait(port: int, process: subprocess.Popen) -> None:
    """Returns when the models answer."""
    end = time.monotonic() + START_S
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "examples"
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        while time.monotonic() < end:
            if process.poll() is not None:
                raise RuntimeError(f"{TF_MODEL_SERVER} ended with {process.returncode}")
            try:
                states = stub.GetModelStatus(request, timeout=1).model_version_status
            except grpc.RpcError:
                states = []
            if states and all(one.state == 30 for one in states):  # AVAILABLE
                return
            time.sleep(0.2)
    raise TimeoutError(f"{TF_MODEL_SERVER} did not answer within {START_S} s")
