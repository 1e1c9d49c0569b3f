"""Clients of the server: TF Serving's gRPC API with numpy in and out, and the users' RPCs.

They need numpy, grpcio and protobuf alone: no TensorFlow is imported. Where the package is wanted
for them only, `pip install --no-deps tfrs-sage` beside those three is enough.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import grpc
import numpy as np

from serving import wire_messages as wire
from serving.wire_tensors import dtype_name, to_array, to_tensor

MAX_MESSAGE_BYTES = 2**31 - 1  # gRPC's own default of 4 MiB is soon met
DEFAULT_TIMEOUT_S = 30.0
DEFAULT_ATTEMPTS = 4
_STATES = {0: "UNKNOWN", 10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}
_SIGNATURE_DEF = "signature_def"


@dataclasses.dataclass(frozen=True)
class Tls:
    """How a connection is encrypted; files are PEM.

    Attributes:
        ca: who signs the server's certificate; None: whom gRPC trusts.
        certificate, key: the client's own, for mutual TLS; both or neither.
        server_name: the name in the server's certificate where it is not the target's host.

    Raises:
        ValueError: a certificate without its key, or the other way round.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError(
                "mutual TLS needs a certificate and its key. Received: "
                f"certificate={self.certificate}, key={self.key}. Give both or neither."
            )

    def credentials(self) -> grpc.ChannelCredentials:
        """What gRPC takes. Raises OSError where a file cannot be read."""
        ca, key, certificate = (
            None if path is None else path.read_bytes()
            for path in (self.ca, self.key, self.certificate)
        )
        return grpc.ssl_channel_credentials(ca, key, certificate)


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """An input or output of a signature.

    Attributes:
        dtype: TensorFlow's name, e.g. `float32`, `string`.
        shape: sizes, None for any; None in its place where the rank is not known either.
    """

    dtype: str
    shape: tuple[int | None, ...] | None


@dataclasses.dataclass(frozen=True)
class Signature:
    """A signature of a model: its inputs and outputs by name."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    method_name: str


class Client:
    """A channel to one server; a context manager, for all threads.

    A call that meets UNAVAILABLE (a restart, a lost connection) is made again after 0.1 s, then
    0.2, 0.4 ... 2 s, each up to a fifth more or less, until it has been made `attempts` times or
    its time is over. Any other refusal raises at once: `grpc.RpcError` with `code()`, `details()`.

    Args:
        target: `host:port`.
        timeout_s: the longest that a call may take, all its attempts together.
        attempts: 1 to 5 (gRPC's most); 1 never tries again.
        tls: encrypts; None sends in the clear.
        token: sent as `authorization: Bearer TOKEN`; without TLS whoever listens can read it.

    Raises:
        ValueError: `attempts` out of range.
    """

    def __init__(
        self,
        target: str,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        attempts: int = DEFAULT_ATTEMPTS,
        tls: Tls | None = None,
        token: str | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        self._methods: dict[str, Any] = {}
        self._metadata = None if token is None else [("authorization", f"Bearer {token}")]
        options = _options(attempts)
        if tls is None:
            self._channel = grpc.insecure_channel(target, options)
            return
        if tls.server_name is not None:
            options.append(("grpc.ssl_target_name_override", tls.server_name))
        self._channel = grpc.secure_channel(target, tls.credentials(), options)

    def wait_until_ready(self, timeout_s: float) -> None:
        """Returns when the server accepts calls.

        Raises:
            TimeoutError: it does not within `timeout_s` seconds.
        """
        try:
            grpc.channel_ready_future(self._channel).result(timeout=timeout_s)
        except grpc.FutureTimeoutError as e:
            raise TimeoutError(f"no server answered within {timeout_s} s.") from e

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, service: str, name: str, request: bytes) -> bytes:
        path = f"/{service}/{name}"
        method = self._methods.get(path)
        if method is None:
            method = self._methods[path] = self._channel.unary_unary(path)
        answer: bytes = method(request, timeout=self._timeout_s, metadata=self._metadata)
        return answer


class PredictClient(Client):
    """Talks to one server, ours or TF Serving's.

    Example:
        with PredictClient("127.0.0.1:8500") as client:
            answer = client.predict("retrieval", {"query": ["red sofa"], "k": 10})
            print(answer["product_id"])
    """

    def predict(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        signature: str = "",
        version: int | None = None,
        version_label: str | None = None,
        outputs: Iterable[str] = (),
    ) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
            model: the model's name.
            inputs: numbers, bool, str or bytes by input name, arrays or what `np.asarray` takes.
                Python's floats are sent as float32, its ints as int32 where they fit; other
                dtypes must be the signature's.
            signature: `serving_default` where empty.
            version: the latest where neither it nor `version_label` is given.
            outputs: names of the outputs to send; all where empty.

        Returns:
            Arrays by output name; strings as object arrays of bytes, bfloat16 as float32.
        """
        spec = _spec(model, version, version_label)
        spec.signature_name = signature
        request = wire.PredictRequest(model_spec=spec, output_filter=outputs)
        for name, value in inputs.items():
            request.inputs.add(key=name, value=to_tensor(value))
        answer = self._send(wire.PREDICTION_SERVICE, "Predict", request.SerializeToString())
        found = wire.PredictResponse.FromString(answer).outputs
        return {one.key: to_array(one.value) for one in found}

    def metadata(self, model: str, *, version: int | None = None) -> dict[str, Signature]:
        """Signatures by name."""
        request = wire.MetadataRequest(
            model_spec=_spec(model, version, None), metadata_field=[_SIGNATURE_DEF]
        )
        answer = self._send(
            wire.PREDICTION_SERVICE, "GetModelMetadata", request.SerializeToString()
        )
        fields = wire.MetadataResponse.FromString(answer).metadata
        (packed,) = (one.value.value for one in fields if one.key == _SIGNATURE_DEF)
        found = wire.Signatures.FromString(packed).signature_def
        return {one.key: _signature(one.value) for one in found}

    def status(self, model: str, *, version: int | None = None) -> dict[int, str]:
        """State of each version, e.g. `{1: "AVAILABLE"}`."""
        request = wire.StatusRequest(model_spec=_spec(model, version, None))
        answer = self._send(wire.MODEL_SERVICE, "GetModelStatus", request.SerializeToString())
        found = wire.StatusResponse.FromString(answer).model_version_status
        return {one.version: _STATES.get(one.state, str(one.state)) for one in found}


class UserClient(Client):
    """Talks to our server about users; answers are the messages of `serving.users`.

    Example:
        with UserClient("127.0.0.1:8500") as client:
            client.record_event("e1", "user7", "item9", "click", time.time())
            for item in client.recommend("user7", k=10)["items"]:
                print(item["item_id"], item["score"], "because of", item["medoid_id"])
    """

    def recommend(
        self, user_id: str, k: int | None = None, seed: int | None = None
    ) -> dict[str, Any]:
        """Items for a user: `user_id`, `source`, `items`, `medoids` and what was left out."""
        return self.call("Recommend", {"user_id": user_id, "k": k, "seed": seed})

    def record_event(
        self, event_id: str, user_id: str, item_id: str, action: str, time: float | str
    ) -> str:
        """Tells what a user did; returns what came of it (`tfrs_sage.users.online.Outcome`).

        Args:
            event_id: the same for the same event, so that it may be sent again.
            user_id: who.
            item_id: on what.
            action: the action's word.
            time: when it happened, seconds since the epoch or ISO 8601.
        """
        event = {"event_id": event_id, "user_id": user_id, "item_id": item_id, "action": action}
        return str(self.call("RecordEvent", {**event, "time": time})["outcome"])

    def status(self) -> dict[str, Any]:
        """Index, batch and cache of the server."""
        return self.call("Status", {})

    def call(self, method: str, message: dict[str, Any]) -> dict[str, Any]:
        """Sends a message, returns the answer."""
        sent = json.dumps(message).encode()
        answer: dict[str, Any] = json.loads(self._send(wire.USER_SERVICE, method, sent))
        return answer


def _options(attempts: int) -> list[tuple[str, Any]]:
    """Of a gRPC channel: bounds, and when calls are made again."""
    if not 1 <= attempts <= 5:
        raise ValueError(f"`attempts` must be 1 to 5, the most of gRPC. Received: {attempts}.")
    retry = {
        "maxAttempts": attempts,
        "initialBackoff": "0.1s",
        "maxBackoff": "2s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    config = {"methodConfig": [{"name": [{}], "retryPolicy": retry}]}
    return [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.enable_retries", int(attempts > 1)),
        *([("grpc.service_config", json.dumps(config))] if attempts > 1 else []),
        # A request is kept until it is answered, however large: else it is not sent again.
        ("grpc.per_rpc_retry_buffer_size", MAX_MESSAGE_BYTES),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2000),
    ]


def _spec(model: str, version: int | None, label: str | None) -> Any:
    if version is not None and label is not None:
        raise ValueError(
            "a request names a version or a label, not both. Received: "
            f"version={version}, version_label={label!r}."
        )
    number = None if version is None else {"value": version}
    return wire.ModelSpec(name=model, version=number, version_label=label)


def _signature(message: Any) -> Signature:
    def specs(named: Any) -> dict[str, TensorSpec]:
        return {one.key: _tensor_spec(one.value) for one in named}

    return Signature(specs(message.inputs), specs(message.outputs), message.method_name)


def _tensor_spec(info: Any) -> TensorSpec:
    shape = info.tensor_shape
    sizes = tuple(None if dim.size < 0 else dim.size for dim in shape.dim)
    return TensorSpec(dtype_name(info.dtype), None if shape.unknown_rank else sizes)
