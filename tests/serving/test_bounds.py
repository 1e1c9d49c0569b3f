"""What one request may have, and what happens when there are too many: over gRPC."""

import threading
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc, regression_pb2

from serving.models import LoadedModel
from serving.server import ModelServer
from serving.settings import ServerSettings
from serving.store import ModelStore
from tests.serving.toys import HalfPlus, OfExamples

TIMEOUT_S = 60


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    HalfPlus(2.0).save(root / "half" / "1")
    OfExamples().save(root / "examples" / "1")
    return ModelStore([LoadedModel(name, 1, root / name / "1") for name in ("half", "examples")])


def request(num_rows: int) -> predict_pb2.PredictRequest:
    message = predict_pb2.PredictRequest()
    message.model_spec.name = "half"
    message.inputs["x"].CopyFrom(tf.make_tensor_proto(np.zeros(num_rows, np.float32)))
    return message


def refusal(call) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code().name, caught.value.details()


def test_rows_and_bytes_of_a_request(store) -> None:
    settings = ServerSettings(port=0, max_rows=100, max_message_bytes=10_000)
    with (
        ModelServer(store, settings) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        assert len(stub.Predict(request(100), timeout=TIMEOUT_S).outputs["y"].float_val) == 100
        code, text = refusal(lambda: stub.Predict(request(101), timeout=TIMEOUT_S))
        assert code == "INVALID_ARGUMENT" and "may have 100 rows. Received: 101 in input x" in text
        code, text = refusal(lambda: stub.Predict(request(10_000), timeout=TIMEOUT_S))
        assert code == "RESOURCE_EXHAUSTED" and "larger than max" in text
        examples = regression_pb2.RegressionRequest()
        examples.model_spec.name = "examples"
        for _ in range(101):
            examples.input.example_list.examples.add()
        code, text = refusal(lambda: stub.Regress(examples, timeout=TIMEOUT_S))
        assert code == "INVALID_ARGUMENT" and "101 in input inputs" in text
        assert stub.Predict(request(1), timeout=TIMEOUT_S).outputs["y"].float_val[:] == [2]


def test_overload_and_deadlines(store, monkeypatch) -> None:
    entered, go, ran = threading.Semaphore(0), threading.Event(), []
    run = LoadedModel.run

    def held(model, signature, inputs):
        ran.append(len(inputs["x"]))
        entered.release()
        assert go.wait(TIMEOUT_S)
        return run(model, signature, inputs)

    monkeypatch.setattr(LoadedModel, "run", held)
    settings = ServerSettings(port=0, grpc_max_threads=1, max_waiting=1)
    with (
        ModelServer(store, settings) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        running = stub.Predict.future(request(1), timeout=TIMEOUT_S)
        assert entered.acquire(timeout=TIMEOUT_S)
        waiting = stub.Predict.future(request(2), timeout=2.0)
        codes = set()
        end = time.monotonic() + 1.5
        while "RESOURCE_EXHAUSTED" not in codes and time.monotonic() < end:
            codes.add(refusal(lambda: stub.Predict(request(3), timeout=0.2))[0])
        assert "RESOURCE_EXHAUSTED" in codes
        assert waiting.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        time.sleep(0.1)
        go.set()
        assert running.result(timeout=TIMEOUT_S).outputs["y"].float_val[:] == [2]
        last = stub.Predict(request(4), timeout=TIMEOUT_S)
        assert len(last.outputs["y"].float_val) == 4
    assert ran == [1, 4]  # nobody waited for the second any more: it was not computed
