"""Sends prepared requests as fast as they are answered, and takes the time of each.

A process of its own that imports neither TensorFlow nor the project: requests are bytes that
another side has made, answers are not decoded. It shares the machine's cores with the server all
the same; `cpu_ms` of its answers tells how much of them it took.
"""

import base64
import itertools
import json
import resource
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from step.protocol import answer

PREDICT = "/tensorflow.serving.PredictionService/Predict"
TIMEOUT_S = 30.0
WARM_UP_S = 0.3
Call = Callable[[bytes], None]


class HttpError(Exception):
    """An answer other than 200."""


def grpc_calls(port: int) -> Callable[[], Call]:
    """Gives each client a call; they share one connection, as threads of one program do."""
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    predict = channel.unary_unary(PREDICT)
    return lambda: lambda request: predict(request, timeout=TIMEOUT_S)


def http_calls(port: int) -> Callable[[], Call]:
    """Gives each client a call over a connection of its own, which is kept."""

    def connect() -> Call:
        connection = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def call(request: bytes) -> None:
            connection.sendall(request)
            data = b""
            while b"\r\n\r\n" not in data:
                data += _received(connection)
            head, _, body = data.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            left = length - len(body)
            while left > 0:
                left -= len(_received(connection))
            if b" 200 " not in head.partition(b"\r\n")[0]:
                raise HttpError(head.partition(b"\r\n")[0].decode())

        return call

    return connect


def _received(connection: socket.socket) -> bytes:
    data = connection.recv(1 << 16)
    if not data:
        raise ConnectionError("the server closed the connection")
    return data


def load(
    api: str, port: int, requests: list[str], concurrency: int, seconds: float, stop_file: str = ""
) -> dict[str, Any]:
    """Times of requests by so many clients at once.

    Args:
        api: `grpc` or `rest`.
        port: of the server on this machine.
        requests: base64, sent in turn.
        concurrency: clients; each sends its next request when it has the answer to the last.
        seconds: how long, after a warm-up.
        stop_file: ends earlier, as soon as there is such a file.
    """
    prepared = [base64.b64decode(one) for one in requests]
    connect = {"grpc": grpc_calls, "rest": http_calls}[api](port)
    turns = itertools.count()
    times: list[float] = []
    errors: Counter[str] = Counter()
    gate = threading.Barrier(concurrency + 1)

    def client() -> None:
        call = connect()
        gate.wait()
        begin = time.perf_counter() + WARM_UP_S
        while (start := time.perf_counter()) < begin + seconds and not stopped.is_set():
            try:
                call(prepared[next(turns) % len(prepared)])
            except grpc.RpcError as error:
                errors[f"{error.code().name}: {error.details()}"] += 1
            except (OSError, HttpError) as error:
                errors[f"{type(error).__name__}: {error}"] += 1
                call = connect()
            if start >= begin:
                times.append(time.perf_counter() - start)

    stopped = threading.Event()
    threads = [threading.Thread(target=client) for _ in range(concurrency)]
    for thread in threads:
        thread.start()
    gate.wait()
    used, start = _cpu_s(), time.perf_counter()
    while stop_file and any(thread.is_alive() for thread in threads):
        if Path(stop_file).exists():
            stopped.set()
        time.sleep(0.1)
    for thread in threads:
        thread.join()
    took = time.perf_counter() - start - WARM_UP_S
    times.sort()
    count, sent = len(times), next(turns)
    return {
        "sent": sent,
        "requests": count,
        "errors": dict(errors),
        "requests_per_second": round(count / took, 1),
        "p50_ms": round(1e3 * times[count // 2], 3) if times else None,
        "p99_ms": round(1e3 * times[int(count * 0.99)], 3) if times else None,
        "max_ms": round(1e3 * times[-1], 3) if times else None,
        "client_cpu_ms": round(1e3 * (_cpu_s() - used) / max(1, sent), 3),
    }


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    json.loads(sys.argv[1])
    answer({"grpcio": grpc.__version__}, {"load": load})
