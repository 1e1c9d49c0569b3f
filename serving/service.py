"""The gRPC services: what they check, in TF Serving's order and words."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.errors import ServingError, invalid_argument, not_found
from serving.models import DEFAULT_SIGNATURE, LoadedModel, ModelStore
from serving.tensors import from_proto, to_proto

_SIGNATURE_DEF = "signature_def"
Run = Callable[[LoadedModel, str, Mapping[str, np.ndarray]], dict[str, np.ndarray]]


def answer(work: Callable[[Any], Any], request: Any, context: grpc.ServicerContext) -> Any:
    """Runs one call and turns its `ServingError` into the call's status."""
    try:
        return work(request)
    except ServingError as error:
        context.abort(error.code, error.text)


def _require_model_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")


def _effective_spec(model: LoadedModel, signature_name: str = "") -> model_pb2.ModelSpec:
    """The spec of the model that answered, which may say more than the one that asked."""
    spec = model_pb2.ModelSpec(name=model.name, signature_name=signature_name)
    spec.version.value = model.version
    return spec


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata; every other call is UNIMPLEMENTED.

    Args:
        store: the models.
        run: runs a signature of a model for checked inputs, as `LoadedModel.run` does.
    """

    def __init__(self, store: ModelStore, run: Run = LoadedModel.run) -> None:
        self._store, self._run = store, run

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Runs a signature."""
        return answer(self._predict, request, context)

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Tells the signatures of a model."""
        return answer(self._metadata, request, context)

    def _predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        _require_model_spec(request)
        model = self._store.find(request.model_spec)
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        signature = model.signature_def(name)
        inputs = checked_inputs(signature, request.inputs)
        wanted = checked_filter(signature, request.output_filter)
        outputs = self._run(model, name, inputs)
        response = predict_pb2.PredictResponse(model_spec=_effective_spec(model, name))
        for alias in wanted:
            response.outputs[alias].CopyFrom(to_proto(outputs[alias]))
        return response

    def _metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        _require_model_spec(request)
        if not request.metadata_field:
            raise invalid_argument(
                "GetModelMetadataRequest must specify at least one metadata_field"
            )
        for field in request.metadata_field:
            if field != _SIGNATURE_DEF:
                raise invalid_argument(f"Metadata field {field} is not supported")
        model = self._store.find(request.model_spec)
        content = get_model_metadata_pb2.SignatureDefMap(signature_def=model.signature_defs)
        response = get_model_metadata_pb2.GetModelMetadataResponse(
            model_spec=_effective_spec(model)
        )
        response.metadata[_SIGNATURE_DEF].Pack(content)
        return response


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus; every other call is UNIMPLEMENTED."""

    def __init__(self, store: ModelStore) -> None:
        self._store = store

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Tells the state of a model's versions; a label in the request is ignored."""
        return answer(self._status, request, context)

    def _status(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        _require_model_spec(request)
        name = request.model_spec.name
        versions = self._store.names().get(name, [])
        if not versions:
            raise not_found(f"Could not find any versions of model {name}")
        if request.model_spec.HasField("version"):
            wanted = request.model_spec.version.value
            if wanted not in versions:
                raise not_found(f"Could not find version {wanted} of model {name}")
            versions = [wanted]
        response = get_model_status_pb2.GetModelStatusResponse()
        for version in reversed(versions):
            status = response.model_version_status.add(
                version=version,
                state=get_model_status_pb2.ModelVersionStatus.State.AVAILABLE,
            )
            status.status.SetInParent()  # error code OK, no message
        return response


def checked_inputs(signature: meta_graph_pb2.SignatureDef, inputs: Any) -> dict[str, np.ndarray]:
    """The request's arrays, of the names, dtypes and shapes that the signature asks for.

    Raises:
        ServingError: INVALID_ARGUMENT otherwise.
    """
    sent, required = sorted(inputs), sorted(signature.inputs)
    if sent != required:
        extra = [alias for alias in sent if alias not in signature.inputs]
        missing = [alias for alias in required if alias not in inputs]
        raise invalid_argument(
            f"input size does not match signature: {len(sent)}!={len(required)} "
            f"len({{{','.join(sent)}}}) != len({{{','.join(required)}}}). "
            f"Sent extra: {{{','.join(extra)}}}. Missing but required: {{{','.join(missing)}}}."
        )
    arrays = {}
    for alias in sent:
        info, proto = signature.inputs[alias], inputs[alias]
        if proto.dtype != info.dtype:
            raise invalid_argument(
                f"input {alias} must be of type {tf.dtypes.as_dtype(info.dtype).name}. "
                f"Received: {_dtype_name(proto.dtype)}."
            )
        arrays[alias] = from_proto(alias, proto)
        shape = tf.TensorShape(info.tensor_shape)
        if not shape.is_compatible_with(arrays[alias].shape):
            raise invalid_argument(
                f"input {alias} must have the shape {shape}. Received: "
                f"{tf.TensorShape(arrays[alias].shape)}."
            )
    return arrays


def _dtype_name(value: int) -> str:
    """Name of a dtype that came over the wire, where it may be any number."""
    try:
        return str(tf.dtypes.as_dtype(value).name)
    except TypeError:
        return f"DataType({value})"


def checked_filter(
    signature: meta_graph_pb2.SignatureDef, output_filter: Iterable[str]
) -> list[str]:
    """The outputs to send: those asked for, or all.

    Raises:
        ServingError: INVALID_ARGUMENT, an unknown or a repeated name.
    """
    wanted: list[str] = []
    for alias in output_filter:
        if alias not in signature.outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {alias} Outputs expected to be "
                f"in the set {{{','.join(sorted(signature.outputs))}}}."
            )
        if alias in wanted:
            raise invalid_argument(f"duplicate output tensor alias: {alias}")
        wanted.append(alias)
    return wanted or sorted(signature.outputs)
