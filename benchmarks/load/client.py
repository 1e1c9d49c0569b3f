"""A call of the light client beside one of the tensorflow-serving-api stubs, over loopback.

    PYTHONPATH=. python benchmarks/load/client.py [--calls 3000]

Both ask the same server, whose model does next to nothing, in turns of 100 calls: 16 floats; 16
texts; a million floats there and back (a tenth of the calls). Microseconds, p50 and p99.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.client import MAX_MESSAGE_BYTES, PredictClient
from serving.models import LoadedModel
from serving.server import ModelServer
from serving.settings import ServerSettings
from serving.store import ModelStore
from tests.serving.toys import HalfPlus

TURN = 100
Inputs = dict[str, Any]


def stubs_call(channel: grpc.Channel) -> Callable[[str, Inputs], Any]:
    """Arrays to arrays by the stubs, as their documentation does it."""
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def call(signature: str, inputs: Inputs) -> Any:
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = "half", signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        answer = stub.Predict(request, timeout=30.0)
        return {name: tf.make_ndarray(proto) for name, proto in answer.outputs.items()}

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=3000)
    calls = parser.parse_args().calls
    limits = [(f"grpc.max_{way}_message_length", MAX_MESSAGE_BYTES) for way in ("send", "receive")]
    with tempfile.TemporaryDirectory() as folder:
        HalfPlus(2.0).save(Path(folder) / "1")
        store = ModelStore([LoadedModel("half", 1, Path(folder) / "1")])
        with ModelServer(store, ServerSettings(port=0)) as server:
            address = f"127.0.0.1:{server.port}"
            with (
                PredictClient(address) as client,
                grpc.insecure_channel(address, limits) as channel,
            ):
                ways = {
                    "serving.client": lambda signature, inputs: client.predict(
                        "half", inputs, signature=signature
                    ),
                    "stubs": stubs_call(channel),
                }
                compare("16 floats", "", {"x": np.ones(16, np.float32)}, ways, calls)
                compare("16 texts", "echo", {"text": ["red leather sofa"] * 16}, ways, calls)
                large = {"x": np.ones(1_000_000, np.float32)}
                compare("10^6 floats", "", large, ways, calls // 10)


def compare(
    what: str,
    signature: str,
    inputs: Inputs,
    ways: dict[str, Callable[[str, Inputs], Any]],
    calls: int,
) -> None:
    """Prints what each way takes, after a turn that is not counted."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(calls // TURN + 1):
        for name, call in ways.items():
            for _ in range(TURN):
                start = time.perf_counter()
                call(signature or "serving_default", inputs)
                if turn:
                    took[name].append(time.perf_counter() - start)
    for name, seconds in took.items():
        p50, p99 = (1e6 * value for value in np.percentile(seconds, [50, 99]))
        print(f"{what:12} {name:15} p50 {p50:8.0f} us  p99 {p99:8.0f} us")


if __name__ == "__main__":
    main()
