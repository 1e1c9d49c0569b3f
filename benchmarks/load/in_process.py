"""The exported models called in this process, and the requests of the same calls for a server."""

import base64
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from serving.models import register_custom_ops

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from step.protocol import answer
from tensorflow_serving.apis import predict_pb2

from tfrs_sage.export.warmup import read_warmup

K = 10
WARM_UP_CALLS = 20


class Model:
    """A version as `tf.saved_model.load` has it, and the texts of its warm-up.

    Args:
        name: of the model.
        folder: of the version.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
        requests = [one for one in read_warmup(folder) if one.signature == "serving_default"]
        largest = max(requests, key=lambda one: len(one.inputs["query"])).inputs
        self.texts = sorted({bytes(text) for text in largest["query"]})
        self._rest = {"k": np.array(K, np.int32)} if "k" in largest else {}

    def inputs(self, rows: int, turn: int) -> dict[str, np.ndarray]:
        """So many of the texts, others at each turn."""
        chosen = [self.texts[(turn * rows + row) % len(self.texts)] for row in range(rows)]
        query = np.empty(rows, dtype=object)
        query[:] = chosen
        return {"query": query, **self._rest}

    def call(self, inputs: dict[str, np.ndarray]) -> None:
        """Arrays in, arrays out."""
        answers = self._signature(**{name: tf.constant(array) for name, array in inputs.items()})
        for value in answers.values():
            value.numpy()


def _latency(model: Model, rows: int, seconds: float) -> dict[str, float]:
    for turn in range(WARM_UP_CALLS):
        model.call(model.inputs(rows, turn))
    times: list[float] = []
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        model.call(model.inputs(rows, len(times)))
        times.append(time.perf_counter() - start)
    times.sort()
    return {
        "p50_ms": round(1e3 * times[len(times) // 2], 3),
        "p99_ms": round(1e3 * times[int(len(times) * 0.99)], 3),
    }


def _throughput(model: Model, rows: int, seconds: float, threads: int) -> float:
    """Texts a second by so many threads."""
    for turn in range(WARM_UP_CALLS):
        model.call(model.inputs(rows, turn))
    counts = [0] * threads
    start = time.perf_counter()

    def work(number: int) -> None:
        while time.perf_counter() < start + seconds:
            model.call(model.inputs(rows, counts[number]))
            counts[number] += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return round(rows * sum(counts) / (time.perf_counter() - start), 1)


def _requests(model: Model, rows: int, api: str) -> list[str]:
    """A server's requests for every text, base64."""
    count = max(1, len(model.texts) // rows)
    return [
        base64.b64encode(_request(model.name, model.inputs(rows, turn), api)).decode()
        for turn in range(count)
    ]


def _request(name: str, inputs: dict[str, np.ndarray], api: str) -> bytes:
    if api == "grpc":
        request = predict_pb2.PredictRequest()
        request.model_spec.name = name
        for alias, array in inputs.items():
            request.inputs[alias].CopyFrom(tf.make_tensor_proto(array))
        return request.SerializeToString()
    query = [text.decode() for text in inputs["query"]]
    body = json.dumps(
        {"inputs": {**{a: v.tolist() for a, v in inputs.items()}, "query": query}}
        if len(inputs) > 1
        else {"inputs": query}
    ).encode()
    head = f"POST /v1/models/{name}:predict HTTP/1.1\r\nHost: localhost\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def main() -> None:
    settings: dict[str, Any] = json.loads(sys.argv[1])
    register_custom_ops()
    models = {name: Model(name, Path(folder)) for name, folder in settings["models"].items()}
    answer(
        {name: {"texts": len(model.texts)} for name, model in models.items()},
        {
            "latency": lambda model, **about: _latency(models[model], **about),
            "throughput": lambda model, **about: _throughput(models[model], **about),
            "requests": lambda model, **about: _requests(models[model], **about),
        },
    )


if __name__ == "__main__":
    main()
