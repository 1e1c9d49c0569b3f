"""Requests to copy: what a client sends to each signature of an exported version, with real rows.

`tf.Example` or raw text, rows or columns, strings or base64: what a signature takes is the question
that users of TF Serving ask most. Here it is answered by the version's own warm-up requests, which
were replayed before the version appeared.

References:
    TF Serving, `g3doc/api_rest.md`: `inputs` by column, strings that are no UTF-8 as base64.
"""

import base64
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_sage.artefacts import read_manifest
from tfrs_sage.errors import InputError
from tfrs_sage.export.warmup import Request, read_warmup


def request_examples(
    folder: Path, *, rest: str = "localhost:8501", grpc: str = "localhost:8500"
) -> list[dict[str, Any]]:
    """The smallest warm-up request of each signature, as a REST call and as a gRPC call.

    Args:
        folder: the version's folder, `saved_models/<name>/<version>`.
        rest: host and port of the server's REST API.
        grpc: host and port of its gRPC API.

    Returns:
        One a signature: `signature`, `body` (the JSON text of the REST call), `curl` (a line for a
        shell) and `python` (lines that use `serving.client`).

    Raises:
        InputError: no export of ours, or one without warm-up requests.
    """
    name = str(read_manifest(folder)["model"])
    smallest: dict[str, Request] = {}
    for request in read_warmup(folder):
        smallest.setdefault(request.signature, request)
    if not smallest:
        raise InputError(
            f"{folder} must have warm-up requests, which the examples are made of. Found: none. "
            "Export the model again."
        )
    return [
        {"signature": one.signature, "body": body, "curl": curl, "python": _python(name, one, grpc)}
        for one in smallest.values()
        for body in [_body(one)]
        for curl in [f"curl -sS -d {shlex.quote(body)} http://{rest}/v1/models/{name}:predict"]
    ]


def _body(request: Request) -> str:
    inputs = {alias: _values(array) for alias, array in request.inputs.items()}
    return json.dumps(
        {"signature_name": request.signature, "inputs": inputs}, ensure_ascii=False, allow_nan=False
    )


def _values(array: np.ndarray) -> Any:
    """Nested lists as REST takes them."""
    if array.dtype == np.float32:
        # By their shortest decimals, which give the same numbers back.
        return array.astype(str).astype(np.float64).tolist()
    return _encoded(array.tolist())


def _encoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_encoded(one) for one in value]
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}


def _python(name: str, request: Request, target: str) -> str:
    lines = [
        "import numpy as np",
        "from serving.client import PredictClient",
        "",
        f"with PredictClient({target!r}) as client:",
        "    answer = client.predict(",
        f"        {name!r},",
        f"        {_literal(request.inputs)},",
        f"        signature={request.signature!r},",
        "    )",
        "print({name: array.shape for name, array in answer.items()})",
    ]
    return "\n".join(lines)


def _literal(inputs: Mapping[str, np.ndarray]) -> str:
    """A dict of arrays as Python text; long runs of zeros are not written out."""
    parts = []
    for alias, array in inputs.items():
        if array.size > 1 and not array.astype(bool).any():
            empty = "b''" if array.dtype.kind == "O" else "0"
            kind = "object" if array.dtype.kind == "O" else str(array.dtype)
            value = f"np.full({array.shape}, {empty}, {kind!r})"
        elif array.dtype.kind == "O":
            value = f"np.array({array.tolist()!r}, object)"
        else:
            value = f"np.array({array.tolist()!r}, {str(array.dtype)!r})"
        parts.append(f"{alias!r}: {value}")
    return "{" + ", ".join(parts) + "}"
