"""The REST API against a real server: routes, codes, texts, bounds, and what hostile bodies do."""

import http.client
import json
import socket
import threading
import time

import pytest

from serving.admission import Admission
from serving.http_server import HttpServer
from serving.metrics import ServingMetrics
from serving.models import LoadedModel
from serving.rest import RestApi
from serving.server import ModelServer
from serving.settings import ServerSettings
from serving.store import ModelStore
from tests.serving.toys import HalfPlus

MAX_BODY = 1 << 20
PREDICT = "/v1/models/half:predict"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    models = []
    for version, addend in ((1, 2.0), (3, 3.0)):
        HalfPlus(addend).save(root / "half" / str(version))
        models.append(LoadedModel("half", version, root / "half" / str(version)))
    return ModelStore(models, labels={"half": {"stable": 1}})


@pytest.fixture(scope="module")
def server(store):
    settings = ServerSettings(port=0, rest_port=0, max_body_bytes=MAX_BODY)
    with ModelServer(store, settings) as server:
        yield server


@pytest.fixture(scope="module")
def ask(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=60)

    def ask(method, path, body=None, headers=None):
        text = body if body is None or isinstance(body, bytes | str) else json.dumps(body)
        connection.request(method, path, text, headers or {})
        response = connection.getresponse()
        assert response.getheader("Content-Type") == "application/json"
        return response.status, json.loads(response.read())

    yield ask
    connection.close()


def test_rows_and_columns_by_version_and_label(ask) -> None:
    rows = {"instances": [1, 2]}
    assert ask("POST", PREDICT, rows) == (200, {"predictions": [3.5, 4.0]})
    assert ask("POST", "/V1/Models/half:PREDICT?a=b", rows) == (200, {"predictions": [3.5, 4.0]})
    assert ask("POST", "/v1/models/%68alf/versions/1:predict", {"inputs": [1, 2]}) == (
        200,
        {"outputs": [2.5, 3.0]},
    )
    assert ask("POST", "/v1/models/half/labels/stable:predict", rows)[1] == {
        "predictions": [2.5, 3.0]
    }


def test_signatures_several_outputs_and_base64(ask) -> None:
    columns = {"signature_name": "pair", "inputs": {"x": [[1, 2]], "scale": 3}}
    assert ask("POST", PREDICT, columns) == (
        200,
        {"outputs": {"scaled": [[3, 6]], "twice": [[2, 4]]}},
    )
    texts = {"signature_name": "echo", "instances": ["a", {"b64": "YWI="}]}
    assert ask("POST", PREDICT, texts)[1] == {
        "predictions": [{"length": 1, "text": "a"}, {"length": 2, "text": "ab"}]
    }


def test_status_and_metadata(ask) -> None:
    ok = {"error_code": "OK", "error_message": ""}
    one = {"version": "1", "state": "AVAILABLE", "status": ok}
    three = {**one, "version": "3"}
    assert ask("GET", "/v1/models/half") == (200, {"model_version_status": [three, one]})
    for path in ("/v1/models/half/versions/1", "/v1/models/half/labels/stable"):
        assert ask("GET", path) == (200, {"model_version_status": [one]})
    status, about = ask("GET", "/v1/models/half/metadata")
    assert status == 200
    assert about["model_spec"]["name"] == "half" and about["model_spec"]["version"] == "3"
    definition = about["metadata"]["signature_def"]["signature_def"]["pair"]
    assert definition["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert [d["size"] for d in definition["inputs"]["x"]["tensor_shape"]["dim"]] == ["-1", "2"]


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/", 400, "Malformed request: GET /"),
        ("GET", PREDICT, 400, "Malformed request: GET /v1/models/half:predict"),
        ("PUT", "/v1/models/half", 400, "Malformed request: PUT /v1/models/half"),
        ("GET", "/v1/models/../../etc/passwd", 400, "Malformed request: GET /v1/models/../"),
        ("GET", "/v1/models", 400, "Missing model name in request."),
        ("GET", "/v1/models/no", 404, "Could not find any versions of model no"),
        ("GET", "/v1/models/..%2F..%2Fetc", 404, "any versions of model ../../etc"),
        ("GET", "/v1/models/half/versions/2", 404, "Could not find version 2 of model half"),
        ("GET", "/v1/models/half/labels/x", 400, "Unrecognized servable version label: x"),
        ("GET", f"/v1/models/half/versions/{2**63}", 400, "Failed to convert version: 92233720"),
        ("GET", "/v1/models/no/metadata", 404, "Servable not found for request: Latest(no)"),
        ("POST", "/v1/models/half:explain", 400, "Malformed request: POST /v1/models/half:explain"),
        ("POST", "/v1/models/no:predict", 404, "Servable not found for request: Latest(no)"),
        ("POST", "/v1/models/half/versions/2:predict", 404, "Specific(half, 2)"),
    ],
)
def test_paths_that_lead_nowhere(ask, method, path, status, text) -> None:
    found, message = ask(method, path, b'{"instances": [1]}' if method == "POST" else None)
    assert found == status and text in message["error"]


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ("", 400, "JSON Parse error: The document is empty"),
        ({"instances": ["a"]}, 400, 'JSON Value: "a" Type: String is not of expected type: float'),
        ({"inputs": [[1]]}, 400, "input x must have the shape (None,). Received: (1, 1)."),
        ({"signature_name": "no", "inputs": 1}, 400, 'Serving signature name: "no" not found in'),
        ({"signature_name": "types", "inputs": {}}, 400, "Missing named input: flag in 'inputs'"),
        ({"signature_name": "echo", "instances": ["bad"]}, 400, "assertion failed: [bad text]"),
        (b'{"inputs": ' + b"[" * 200_000, 400, "nested too deeply"),
        (b'{"inputs": ' + b"9" * 200_000 + b"}", 400, "JSON Parse error: Exceeds the limit"),
        (b"x" * (MAX_BODY + 1), 413, f"A body may have {MAX_BODY} bytes."),
    ],
)
def test_bodies_that_are_refused_disturb_nobody(ask, body, status, text) -> None:
    found, message = ask("POST", PREDICT, body)
    assert found == status and text in message["error"]
    assert len(message["error"]) <= 1024 + len("...TRUNCATED")
    assert ask("POST", PREDICT, {"instances": [2]}) == (200, {"predictions": [4.0]})


def test_pages_of_other_origins_may_read_where_they_are_let(store) -> None:
    with ModelServer(store, ServerSettings(port=0, rest_port=0, cors=True)) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=60)
        for method, path, status in (
            ("OPTIONS", PREDICT, 200),
            ("GET", "/v1/models/half", 200),
            ("GET", "/v1/models/no", 404),
        ):
            connection.request(method, path, headers={"Origin": "https://shop.example"})
            response = connection.getresponse()
            assert response.status == status and response.read() is not None
            assert response.getheader("Access-Control-Allow-Origin") == "*"
        connection.close()


def test_bodies_without_a_length_that_is_known(ask, server) -> None:
    assert ask("POST", PREDICT, b"1", {"Transfer-Encoding": "chunked"})[0] == 411
    assert ask("POST", PREDICT, b"1", {"Content-Encoding": "gzip"})[0] == 415
    lines = [b"Content-Length: -1", b"Content-Length: 1e9", b"Content-Length: " + b"9" * 40]
    lines.append(b"Content-Length: 1\r\nContent-Length: 2")
    for line in lines:
        with socket.create_connection(("127.0.0.1", server.rest_port), timeout=60) as raw:
            raw.sendall(b"POST /v1/models/half:predict HTTP/1.1\r\n" + line + b"\r\n\r\n")
            assert b" 400 " in raw.makefile("rb").readline()
    for line in (b"\x00\xff\x00\r\n\r\n", b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", server.rest_port), timeout=60) as raw:
            raw.sendall(line)
            raw.shutdown(socket.SHUT_WR)
            assert b'{"error"' in raw.makefile("rb").read()


def test_a_client_that_is_slow_keeps_no_place(store) -> None:
    admission = Admission(num_running=1, num_waiting=0)
    answer = RestApi(store, LoadedModel.run, ServingMetrics()).answer
    http_server = HttpServer(
        answer, admission, host="127.0.0.1", port=0, timeout_s=0.5, max_body_bytes=MAX_BODY
    )
    http_server.start()
    try:
        with socket.create_connection(("127.0.0.1", http_server.port), timeout=60) as slow:
            slow.sendall(b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
            assert b" 408 " in slow.makefile("rb").readline()
        body = b'{"instances": [%s]}' % b", ".join([b"1"] * 300_000)  # in several pieces
        assert _post(http_server.port, body)[0] == 200
        deadline, found = time.monotonic() + 60, b" 429 "
        while b" 429 " in found and time.monotonic() < deadline:
            # The place of the request before is free a moment after its answer has come.
            with socket.create_connection(("127.0.0.1", http_server.port), timeout=60) as short:
                short.sendall(b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
                short.shutdown(socket.SHUT_WR)
                found = short.makefile("rb").read()
        assert b"must have its Content-Length, 100. Received: 1" in found
    finally:
        http_server.stop(60)


class Held:
    """Runs a model when it is told to."""

    def __init__(self) -> None:
        self.entered, self.go = threading.Semaphore(0), threading.Event()

    def __call__(self, model, signature, inputs):
        self.entered.release()
        assert self.go.wait(60)
        return model.run(signature, inputs)


def _in_threads(count, work):
    results = []
    threads = [threading.Thread(target=lambda: results.append(work())) for _ in range(count)]
    for thread in threads:
        thread.start()
    return results, threads


def _post(port, body=b'{"instances": [2]}'):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", PREDICT, body)
    response = connection.getresponse()
    return response.status, response.read()


def test_overload_deadline_and_drain(store) -> None:
    run, admission = Held(), Admission(num_running=1, num_waiting=1)
    http_server = HttpServer(
        RestApi(store, run, ServingMetrics()).answer,
        admission,
        host="127.0.0.1",
        port=0,
        timeout_s=0.5,
        max_body_bytes=MAX_BODY,
    )
    http_server.start()
    first, threads = _in_threads(1, lambda: _post(http_server.port))
    assert run.entered.acquire(timeout=60)
    second, more = _in_threads(1, lambda: _post(http_server.port))
    more[0].join(60)
    assert second[0][0] == 504 and b"turn did not come" in second[0][1]
    with admission.place():  # the other place is taken
        status, body = _post(http_server.port)
        assert status == 429 and b"at most 2 requests at a time" in body
    stopping = threading.Thread(target=http_server.stop, args=(60,))
    stopping.start()
    run.go.set()  # a request that is running is answered though the server stops
    for thread in (*threads, stopping):
        thread.join(60)
    assert first == [(200, b'{"predictions": [4.0]}')]
    with pytest.raises(ConnectionError):
        _post(http_server.port)
