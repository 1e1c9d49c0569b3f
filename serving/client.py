"""Clients of the server: TF Serving's gRPC API with numpy in and out, and the users' RPCs."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Self

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.users import SERVICE

MAX_MESSAGE_BYTES = 2**31 - 1  # gRPC's own default of 4 MiB is soon met
DEFAULT_TIMEOUT_S = 30.0


class Client:
    """A channel to one server; a context manager.

    A refused request raises `grpc.RpcError` with `code()` and `details()`.

    Args:
        target: `host:port`.
        timeout_s: the longest that a call may take.
    """

    def __init__(self, target: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._channel = grpc.insecure_channel(
            target,
            options=[
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ],
        )

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


class PredictClient(Client):
    """Talks to one server, ours or TF Serving's.

    Example:
        with PredictClient("127.0.0.1:8500") as client:
            answer = client.predict("retrieval", {"query": ["red sofa"], "k": np.int32(10)})
            print(answer["product_id"])
    """

    def __init__(self, target: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        super().__init__(target, timeout_s=timeout_s)
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)

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
            inputs: what `np.asarray` takes, by input name; dtypes must be the signature's.
            signature: `serving_default` where empty.
            version: the latest where neither it nor `version_label` is given.
            outputs: names of the outputs to send; all where empty.

        Returns:
            Arrays by output name; strings as object arrays of bytes.
        """
        spec = _spec(model, version, version_label)
        spec.signature_name = signature
        request = predict_pb2.PredictRequest(model_spec=spec, output_filter=outputs)
        for name, value in inputs.items():
            # Numbers go as `tensor_content`: a copy of memory, no encoding one by one.
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        response = self._prediction.Predict(request, timeout=self._timeout_s)
        return {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}

    def metadata(self, model: str, *, version: int | None = None) -> dict[str, Any]:
        """Signature definitions by name."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=_spec(model, version, None), metadata_field=["signature_def"]
        )
        response = self._prediction.GetModelMetadata(request, timeout=self._timeout_s)
        content = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(content)
        return dict(content.signature_def)

    def status(self, model: str, *, version: int | None = None) -> dict[int, str]:
        """State of each version, e.g. `{1: "AVAILABLE"}`."""
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=_spec(model, version, None))
        response = self._models.GetModelStatus(request, timeout=self._timeout_s)
        state = get_model_status_pb2.ModelVersionStatus.State
        return {s.version: state.Name(s.state) for s in response.model_version_status}


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
        call = self._channel.unary_unary(f"/{SERVICE}/{method}")
        answer: dict[str, Any] = json.loads(
            call(json.dumps(message).encode(), timeout=self._timeout_s)
        )
        return answer


def _spec(model: str, version: int | None, label: str | None) -> model_pb2.ModelSpec:
    if version is not None and label is not None:
        raise ValueError(
            "a request names a version or a label, not both. Received: "
            f"version={version}, version_label={label!r}."
        )
    spec = model_pb2.ModelSpec(name=model)
    if version is not None:
        spec.version.value = version
    if label is not None:
        spec.version_label = label
    return spec
