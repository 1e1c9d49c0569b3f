"""The gRPC services: what they check, in TF Serving's order and words."""

from collections.abc import Callable
from typing import Any

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.checks import checked_filter, checked_inputs
from serving.errors import ServingError, invalid_argument, not_found
from serving.metrics import ServingMetrics
from serving.models import DEFAULT_SIGNATURE, LoadedModel, Run
from serving.store import ModelStore
from serving.tensors import to_proto

_SIGNATURE_DEF = "signature_def"


def answer(work: Callable[[Any], Any], request: Any, context: grpc.ServicerContext) -> Any:
    """Runs one call and turns its `ServingError` into the call's status."""
    try:
        return work(request)
    except ServingError as error:
        context.abort(error.code, error.text)


def _require_model_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")


def effective_spec(model: LoadedModel, signature_name: str = "") -> model_pb2.ModelSpec:
    """The spec of the model that answered, which may say more than the one that asked."""
    spec = model_pb2.ModelSpec(name=model.name, signature_name=signature_name)
    spec.version.value = model.version
    return spec


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata; every other call is UNIMPLEMENTED.

    Args:
        store: the models.
        run: runs a signature of a model for checked inputs, as `LoadedModel.run` does.
        metrics: what is counted.
    """

    def __init__(self, store: ModelStore, run: Run, metrics: ServingMetrics) -> None:
        self._store, self._run, self._metrics = store, run, metrics

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Runs a signature, unless the request has waited for longer than its client will."""
        left = context.time_remaining()
        if left is not None and left <= 0:
            context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
        return answer(self._counted_predict, request, context)

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Tells the signatures of a model."""
        return answer(self._metadata, request, context)

    def _counted_predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        name = request.model_spec.name
        with self._metrics.request(name if self._store.loaded(name) else "", "GRPC"):
            return self._predict(request)

    def _predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        _require_model_spec(request)
        model = self._store.find(request.model_spec)
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        signature = model.signature_def(name)
        inputs = checked_inputs(signature, request.inputs)
        wanted = checked_filter(signature, request.output_filter)
        outputs = self._run(model, name, inputs)
        response = predict_pb2.PredictResponse(model_spec=effective_spec(model, name))
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
        response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=effective_spec(model))
        response.metadata[_SIGNATURE_DEF].Pack(content)
        return response


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus; every other call is UNIMPLEMENTED."""

    def __init__(self, store: ModelStore) -> None:
        self._store = store

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Tells the state of a model's versions; a label in the request is ignored."""
        return answer(lambda r: model_status(self._store, r), request, context)


def model_status(
    store: ModelStore, request: get_model_status_pb2.GetModelStatusRequest
) -> get_model_status_pb2.GetModelStatusResponse:
    """The states of a model's versions, the newest first.

    Raises:
        ServingError: NOT_FOUND, no such model or version.
    """
    _require_model_spec(request)
    name = request.model_spec.name
    states = store.states(name)
    if not states:
        raise not_found(f"Could not find any versions of model {name}")
    if request.model_spec.HasField("version"):
        wanted = request.model_spec.version.value
        if wanted not in states:
            raise not_found(f"Could not find version {wanted} of model {name}")
        states = {wanted: states[wanted]}
    response = get_model_status_pb2.GetModelStatusResponse()
    for version in sorted(states, reverse=True):
        status = response.model_version_status.add(
            version=version, state=states[version].state.value
        )
        status.status.error_code = states[version].code
        status.status.error_message = states[version].message
        status.status.SetInParent()  # also where all is well
    return response
