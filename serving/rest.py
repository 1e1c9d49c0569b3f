"""TF Serving's REST API: which path asks for what, and the answer to it.

References:
    TF Serving, `g3doc/api_rest.md` and `model_servers/http_rest_api_handler.cc`.
"""

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import unquote

import grpc
from google.protobuf import json_format
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    regression_pb2,
)

from serving.checks import check_shapes
from serving.errors import ServingError, invalid_argument
from serving.inference import classify, effective_spec, num_examples, regress
from serving.json_answers import to_body
from serving.json_bodies import parse_body, signature_name
from serving.json_examples import classified, regressed, to_examples
from serving.json_tensors import to_arrays
from serving.metrics import CONTENT_TYPE, ServingMetrics
from serving.model_service import model_status
from serving.models import DEFAULT_SIGNATURE, LoadedModel, Run
from serving.store import ModelStore

_CHOICE = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_PREDICT = re.compile(
    rf"/v1/models/(?P<name>[^/:]+){_CHOICE}:(?P<method>classify|regress|predict)", re.IGNORECASE
)
_STATUS = re.compile(
    rf"/v1/models(?:/(?P<name>[^/:]+))?{_CHOICE}(?P<metadata>/metadata)?", re.IGNORECASE
)
Json = dict[str, Any]
_Work = Callable[[model_pb2.ModelSpec, Json], bytes]
_MONITORING = "/monitoring"
_MAX_VERSION = 2**63 - 1
_C = grpc.StatusCode
_HTTP = {
    _C.OK: 200,
    _C.INVALID_ARGUMENT: 400,
    _C.FAILED_PRECONDITION: 400,
    _C.OUT_OF_RANGE: 400,
    _C.UNAUTHENTICATED: 401,
    _C.PERMISSION_DENIED: 403,
    _C.NOT_FOUND: 404,
    _C.ABORTED: 409,
    _C.ALREADY_EXISTS: 409,
    _C.RESOURCE_EXHAUSTED: 429,
    _C.CANCELLED: 499,
    _C.UNKNOWN: 500,
    _C.INTERNAL: 500,
    _C.DATA_LOSS: 500,
    _C.UNIMPLEMENTED: 501,
    _C.UNAVAILABLE: 503,
    _C.DEADLINE_EXCEEDED: 504,
}


class Reply(NamedTuple):
    """An HTTP answer."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()  # further ones


Answer = Callable[[str, str, bytes], Reply]  # method, path, body


def error_reply(error: ServingError) -> Reply:
    """The answer that tells an error."""
    return Reply(_HTTP[error.code], json.dumps({"error": error.text}, indent=4).encode())


class RestApi:
    """Answers requests, on every thread of the server.

    Args:
        store: the models.
        run: runs a signature of a model for checked inputs, as `LoadedModel.run` does.
        metrics: what is counted.
        metrics_path: where it is told; None: nowhere.
    """

    def __init__(
        self, store: ModelStore, run: Run, metrics: ServingMetrics, metrics_path: str | None = None
    ) -> None:
        self._store, self._run = store, run
        self._metrics, self._metrics_path = metrics, metrics_path
        self._works: dict[str, _Work] = {
            "predict": self._predict,
            "classify": self._infer(classification_pb2.ClassificationRequest, classify, classified),
            "regress": self._infer(regression_pb2.RegressionRequest, regress, regressed),
        }

    def answer(self, method: str, path: str, body: bytes) -> Reply:
        """The answer to a request; also to one that is wrong.

        Args:
            method: of HTTP.
            path: as it came; the query is not looked at.
            body: JSON, for predictions and the like.
        """
        try:
            if self._metrics_path is not None and path.startswith(
                (self._metrics_path, _MONITORING)
            ):
                return self._told(path.partition("?")[0])
            return Reply(200, self._route(method, path.partition("?")[0])(body))
        except ServingError as error:
            return error_reply(error)

    def _route(self, method: str, path: str) -> Callable[[bytes], bytes]:
        """What answers a path.

        Raises:
            ServingError: INVALID_ARGUMENT, nothing does.
        """
        if method == "POST" and (match := _PREDICT.fullmatch(path)):
            spec, api = _spec(match), match["method"].lower()
            return lambda body: self._counted(spec, api, body)
        if method == "GET" and (match := _STATUS.fullmatch(path)):
            if not match["name"]:
                raise invalid_argument("Missing model name in request.")
            spec = _spec(match)
            return lambda _: self._metadata(spec) if match["metadata"] else self._status(spec)
        raise invalid_argument(f"Malformed request: {method} {path}")

    def _told(self, path: str) -> Reply:
        if path != self._metrics_path:
            raise invalid_argument(f"Unexpected path: {path}. Should be {self._metrics_path}")
        return Reply(200, self._metrics.text(), CONTENT_TYPE)

    def _counted(self, spec: model_pb2.ModelSpec, api: str, text: bytes) -> bytes:
        name = spec.name if self._store.loaded(spec.name) else ""
        with self._metrics.request(name, "REST", api):
            document = parse_body(text)
            spec.signature_name = signature_name(document)
            return self._works[api](spec, document)

    def _predict(self, spec: model_pb2.ModelSpec, document: Json) -> bytes:
        model = self._store.find(spec)
        name = spec.signature_name or DEFAULT_SIGNATURE
        if name not in model.signature_defs:
            raise invalid_argument(f'Serving signature name: "{name}" not found in signature def')
        signature = model.signature_def(name)
        if not signature.inputs:
            wanted = spec.signature_name or "DEFAULT"
            raise invalid_argument(f"Failed to get input map for signature: {wanted}")
        inputs = to_arrays(document, signature.inputs)
        check_shapes(signature, inputs)
        return to_body(self._run(model, name, inputs), "instances" in document)

    def _infer(
        self,
        request_type: Callable[..., Any],
        infer: Callable[[LoadedModel, Run, Any], Any],
        told: Callable[[Any], bytes],
    ) -> _Work:
        """Work of an API that takes examples: its request, what answers it, the answer's body."""

        def work(spec: model_pb2.ModelSpec, document: Json) -> bytes:
            request = request_type(model_spec=spec, input=to_examples(document))
            model = self._store.find(spec)
            self._metrics.count_examples(model.name, num_examples(request.input))
            return told(infer(model, self._run, request).result)

        return work

    def _status(self, spec: model_pb2.ModelSpec) -> bytes:
        if spec.HasField("version_label"):  # which version it is now
            spec.version.value = self._store.find(spec).version
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=spec)
        return _pretty(_as_dict(model_status(self._store, request)))

    def _metadata(self, spec: model_pb2.ModelSpec) -> bytes:
        model = self._store.find(spec)
        signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=model.signature_defs)
        message = {
            "model_spec": _as_dict(effective_spec(model)),
            "metadata": {"signature_def": _as_dict(signatures)},
        }
        return _pretty(message)


def _spec(match: re.Match[str]) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=unquote(match["name"]))
    if match["version"]:
        if len(match["version"]) > 20 or int(match["version"]) > _MAX_VERSION:
            raise invalid_argument(f"Failed to convert version: {match['version']} to numeric.")
        spec.version.value = int(match["version"])
    if match["label"]:
        spec.version_label = unquote(match["label"])
    return spec


def _as_dict(message: Any) -> dict[str, Any]:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _pretty(message: dict[str, Any]) -> bytes:
    return json.dumps(message, indent=1).encode()
