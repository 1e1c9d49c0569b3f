"""A server under malformed requests: an error for each, right answers in between, memory flat.

MALFORMED_REQUESTS in the environment is how many [500]; the counts are printed (pytest -s).
"""

import collections
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from typing import NamedTuple

import grpc
import pytest

from tests.serving.malformed import MAKERS, Call, Raw, predict
from tests.serving.ports import free_port
from tests.serving.serve_process import PROGRAM, ready
from tests.serving.toys import HalfPlus, OfExamples

COUNT = int(os.environ.get("MALFORMED_REQUESTS", "500"))
TIMEOUT_S = 60
START_S = 300
CHECK_EVERY = 25
GROWTH_MIB = 48.0  # that may be of caches and arenas, whatever the number of requests
# What a client may be told that has sent nonsense. UNKNOWN would be an exception that nobody
# thought of, UNAVAILABLE a server that has gone.
CODES = {
    *("INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "UNIMPLEMENTED", "INTERNAL"),
    *("RESOURCE_EXHAUSTED", "OUT_OF_RANGE"),
}


class Server(NamedTuple):
    """A process that serves."""

    process: subprocess.Popen
    port: int
    rest_port: int

    def memory_mib(self) -> float:
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            (line,) = [line for line in file if line.startswith("VmRSS:")]
        return int(line.split()[1]) / 1024


@pytest.fixture
def server(tmp_path):
    HalfPlus(2.0).save(tmp_path / "saved_models" / "half" / "1")
    OfExamples().save(tmp_path / "saved_models" / "examples" / "1")
    rest_port = free_port()
    ports = ("--port", "0", "--rest_api_port", str(rest_port))
    bounds = ("--grpc_max_message_bytes", "1048576", "--rest_api_max_body_bytes", "1048576")
    config = tmp_path / "models.config"
    listed = "".join(
        f'config {{ name: "{name}" base_path: "{tmp_path}/saved_models/{name}" '
        'model_platform: "tensorflow" }'
        for name in ("half", "examples")
    )
    config.write_text(f"model_config_list {{ {listed} }}")
    command = [sys.executable, "-c", PROGRAM, "--model_config_file", str(config), *ports, *bounds]
    with open(tmp_path / "log", "w+", encoding="utf-8") as log:
        process = subprocess.Popen(command, stderr=log, stdout=subprocess.DEVNULL, text=True)
        try:
            address = ready(process, tmp_path / "log", START_S)
            yield Server(process, int(address.rpartition(":")[2]), rest_port)
            process.send_signal(signal.SIGTERM)
            assert process.wait(TIMEOUT_S) == 0
            assert "Traceback" not in (tmp_path / "log").read_text(encoding="utf-8")
        finally:
            process.kill()
            process.wait()


def _send_call(channel: grpc.Channel, made: Call) -> str:
    """The status of a call that must be refused."""
    call = channel.unary_unary(made.method)
    try:
        call(made.message, timeout=TIMEOUT_S)
    except grpc.RpcError as error:
        code = error.code().name
        assert code in CODES, (made, error.details())
        return code
    raise AssertionError(f"was answered: {made}")


def _send_raw(port: int, made: Raw) -> str:
    """The status of an answer that must be an error."""
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as connection:
        try:
            connection.sendall(made.data)
            connection.shutdown(socket.SHUT_WR)
        except ConnectionError:  # it has seen enough
            pass
        answer = b""
        try:
            while chunk := connection.recv(1 << 16):
                answer += chunk
        except ConnectionError:
            pass
    head, _, body = answer.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100 "):
        head, _, body = body.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 "):  # a request line of HTTP/0.9, or none, has no head
        assert b'{"error":' in answer, (made.data[:300], answer[:300])
        return "no head"
    status = head.split()[1].decode()
    assert status[0] == "4" or status in ("501", "505"), (made.data[:300], answer[:300])
    if head.split()[1] != b"100" and body:
        assert set(json.loads(body)) == {"error"}, (made.data[:300], answer[:300])
    return status


def _check(server: Server, channel: grpc.Channel) -> None:
    """Whether the server answers rightly on both ports."""
    call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    assert b"half" in call(predict(random.Random(0)).SerializeToString(), timeout=TIMEOUT_S)
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=TIMEOUT_S)
    connection.request("POST", "/v1/models/half:predict", '{"instances": [1, 5]}')
    assert json.loads(connection.getresponse().read()) == {"predictions": [2.5, 4.5]}
    connection.request("POST", "/v1/models/examples:regress", '{"examples": [{"x": 1.0}]}')
    assert json.loads(connection.getresponse().read()) == {"results": [2.5]}
    connection.close()


@pytest.mark.integration
def test_every_one_gets_an_error(server) -> None:
    rng = random.Random(0)
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    memory, begun = [], time.monotonic()
    with grpc.insecure_channel(
        f"127.0.0.1:{server.port}", options=[("grpc.max_send_message_length", -1)]
    ) as channel:
        for number in range(COUNT):
            maker = MAKERS[number % len(MAKERS)]
            made = maker(rng)
            if isinstance(made, Call):
                status = _send_call(channel, made)
            else:
                status = _send_raw(server.rest_port, made)
            counts[maker.__name__, status] += 1
            if number % CHECK_EVERY == CHECK_EVERY - 1:
                _check(server, channel)
                memory.append(server.memory_mib())
        _check(server, channel)
    quarters = [memory[(len(memory) - 1) * quarter // 4] for quarter in range(5)]
    report = {
        "requests": COUNT,
        "seconds": round(time.monotonic() - begun, 1),
        "memory_mib_by_quarters": [round(one, 1) for one in quarters],
        "errors": {f"{kind} {status}": n for (kind, status), n in sorted(counts.items())},
    }
    print(json.dumps(report, indent=1))
    assert sum(counts.values()) == COUNT
    assert quarters[-1] - quarters[1] < GROWTH_MIB, quarters
