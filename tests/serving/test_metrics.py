"""Metrics as Prometheus reads them, and the health service, of a server that has been asked."""

import http.client
import re

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving.client import PredictClient
from serving.errors import ServingError, invalid_argument
from serving.metrics import BOUNDS_US, DEFAULT_PATH, Counter, Histogram, ServingMetrics
from serving.models import LoadedModel
from serving.query_cache import MemoryQueryCache
from serving.server import ModelServer
from serving.settings import ServerSettings
from serving.store import ModelStore
from serving.tfserving.parameters import metrics_path
from tests.serving.toys import HalfPlus
from tfrs_sage.errors import InputError

TIMEOUT_S = 60


def test_buckets_count_what_is_not_above_their_bound() -> None:
    histogram = Histogram("h", "model")
    values = [*np.random.default_rng(0).lognormal(8, 4, 500).tolist(), 10.0, 18.0]
    for value in values:
        histogram.observe(value, "m")
    lines = list(histogram.lines())
    told = [float(line.rpartition(" ")[2]) for line in lines]
    bounds = np.array([10 * 1.8**power for power in range(33)])
    assert told[:33] == [np.sum(np.array(values) <= bound) for bound in bounds]
    assert told[33] == told[35] == len(values)
    assert told[34] == pytest.approx(sum(values))
    assert lines[1].startswith('h_bucket{model="m",le="18"} ')
    assert lines[33].startswith('h_bucket{model="m",le="+Inf"} ')
    assert len(BOUNDS_US) == 33


def test_labels_are_escaped() -> None:
    counter = Counter("c", "name")
    counter.add('a"\\\n')
    assert list(counter.lines()) == ['c{name="a\\"\\\\\\n"} 1']


def test_a_request_is_counted_by_its_status() -> None:
    metrics = ServingMetrics()
    with metrics.request("m", "GRPC"):
        pass
    with pytest.raises(ServingError), metrics.request("m", "GRPC"):
        raise invalid_argument("no")
    text = metrics.text().decode()
    assert ':tensorflow:serving:request_count{model_name="m",status="OK"} 1' in text
    assert ':tensorflow:serving:request_count{model_name="m",status="INVALID_ARGUMENT"} 1' in text
    assert "request_latency_count" in text
    assert re.findall(r"request_latency_count.* (\d+)", text) == ["1"]  # of the answered one


def test_examples_are_counted_in_buckets_of_their_own() -> None:
    metrics = ServingMetrics()
    for count in (0, 3, 100_000):
        metrics.count_examples("m", count)
    text = metrics.text().decode()
    assert ':tensorflow:serving:request_example_count_total{model="m"} 100003' in text
    for bound, expected in (("2", 0), ("4", 1), ("16384", 1), ("+Inf", 2)):
        assert f'example_counts_bucket{{model="m",le="{bound}"}} {expected}\n' in text
    assert metrics.total("/tensorflow/serving/request_example_count_total") == 100_003
    assert metrics.total(":tensorflow:serving:request_example_count_total") == 100_003
    assert metrics.total("/no/such") == 0


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "half" / "1"
    HalfPlus(2.0).save(folder)
    return ModelStore([LoadedModel("half", 1, folder)])


def _scrape(port: int, path: str) -> tuple[int, str | None, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.getheader("Content-Type"), response.read().decode()


def test_what_a_server_tells(store) -> None:
    settings = ServerSettings(port=0, rest_port=0, metrics_path=DEFAULT_PATH)
    with ModelServer(store, settings, query_cache=MemoryQueryCache(1 << 20)) as server:
        with PredictClient(f"127.0.0.1:{server.port}", timeout_s=TIMEOUT_S) as client:
            client.predict("half", {"x": np.float32([1])})
            for name in ("stranger", "other stranger"):
                with pytest.raises(grpc.RpcError):
                    client.predict(name, {"x": np.float32([1])})
        connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=TIMEOUT_S)
        connection.request("POST", "/v1/models/half:predict", b'{"instances": [1]}')
        assert connection.getresponse().status == 200
        status, kind, text = _scrape(server.rest_port, DEFAULT_PATH)
        assert status == 200 and kind == "text/plain; version=0.0.4; charset=utf-8"
        for line in (
            "# TYPE :tensorflow:serving:request_count counter",
            ':tensorflow:serving:request_count{model_name="half",status="OK"} 2',
            ':tensorflow:serving:request_count{model_name="",status="NOT_FOUND"} 2',
            ':tensorflow:serving:request_latency_count{model_name="half",API="predict",'
            'entrypoint="REST"} 1',
            ':tensorflow:serving:runtime_latency_count{model_name="half",API="Predict",'
            'runtime="TF2"} 2',
            'tfrs_sage:runtime_latency_count{model_name="half",version="1",'
            'signature="serving_default"} 2',
            "tfrs_sage:query_cache_hits 0",
        ):
            assert line in text.splitlines()
        status, _, text = _scrape(server.rest_port, "/monitoring/other")
        assert status == 400
        assert f"Unexpected path: /monitoring/other. Should be {DEFAULT_PATH}" in text


def test_the_monitoring_file(tmp_path) -> None:
    path = tmp_path / "monitoring.config"

    def read(text: str) -> str | None:
        path.write_text(f"prometheus_config {{ {text} }}")
        return metrics_path(path, DEFAULT_PATH)

    assert read("enable: true") == DEFAULT_PATH
    assert read('enable: true path: "/here"') == "/here"
    assert read('path: "/here"') is None
    with pytest.raises(InputError, match="begins with '/'"):
        read('enable: true path: "here"')


def test_health(store) -> None:
    def state(stub, service: str) -> str:
        request = health_pb2.HealthCheckRequest(service=service)
        answer = stub.Check(request, timeout=TIMEOUT_S)
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)

    with (
        ModelServer(store, ServerSettings(port=0, grpc_health=True)) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "tensorflow.serving.PredictionService", "ModelService"):
            assert state(stub, service) == "SERVING"
        with pytest.raises(grpc.RpcError) as caught:
            state(stub, "other")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        watched = stub.Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
        server.stop(drain_s=1)  # told to those who watch before their calls end
        assert next(watched).status == health_pb2.HealthCheckResponse.NOT_SERVING
    with (
        ModelServer(store, ServerSettings(port=0)) as server,  # off unless asked for
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        with pytest.raises(grpc.RpcError) as caught:
            state(health_pb2_grpc.HealthStub(channel), "")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
