"""The gRPC service of predictions: what it checks, in TF Serving's order and words."""

from collections.abc import Callable
from typing import Any

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    inference_pb2,
    model_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.checks import checked_filter, checked_inputs
from serving.errors import ServingError, invalid_argument
from serving.inference import classify, effective_spec, multi_inference, num_examples, regress
from serving.metrics import ServingMetrics
from serving.models import DEFAULT_SIGNATURE, LoadedModel, Run
from serving.store import ModelStore
from serving.tensors import to_proto

_SIGNATURE_DEF = "signature_def"
_Work = Callable[[Any], Any]


def answer(work: Callable[[Any], Any], request: Any, context: grpc.ServicerContext) -> Any:
    """Runs one call, unless its client waits no more; turns its `ServingError` into a status."""
    left = context.time_remaining()
    if left is not None and left <= 0:
        context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
    try:
        return work(request)
    except ServingError as error:
        context.abort(error.code, error.text)


def require_model_spec(request: Any) -> None:
    """Raises a `ServingError` where a request names no model."""
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict, Classify, Regress, MultiInference and GetModelMetadata.

    Args:
        store: the models.
        run: runs a signature of a model for checked inputs, as `LoadedModel.run` does.
        metrics: what is counted.
        tensor_content: answer with tensors as bytes, not by typed fields.
    """

    def __init__(
        self, store: ModelStore, run: Run, metrics: ServingMetrics, tensor_content: bool = False
    ) -> None:
        self._store, self._run, self._metrics = store, run, metrics
        self._tensor_content = tensor_content

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Runs a signature."""
        return self._counted("Predict", self._predict, request, context)

    def Classify(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Runs a signature that tells the classes of examples."""
        return self._counted("Classify", self._infer(classify), request, context)

    def Regress(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Runs a signature that gives a number for each example."""
        return self._counted("Regress", self._infer(regress), request, context)

    def MultiInference(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Runs several such signatures for the same examples."""
        return answer(self._multi_inference, request, context)

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Tells the signatures of a model."""
        return answer(self._metadata, request, context)

    def _counted(self, api: str, work: _Work, request: Any, context: grpc.ServicerContext) -> Any:
        name = request.model_spec.name
        name = name if self._store.loaded(name) else ""

        def counted(request: Any) -> Any:
            with self._metrics.request(name, "GRPC", api):
                require_model_spec(request)
                return work(request)

        return answer(counted, request, context)

    def _infer(self, infer: Callable[[LoadedModel, Run, Any], Any]) -> _Work:
        def work(request: Any) -> Any:
            model = self._store.find(request.model_spec)
            self._metrics.count_examples(model.name, num_examples(request.input))
            return infer(model, self._run, request)

        return work

    def _multi_inference(
        self, request: inference_pb2.MultiInferenceRequest
    ) -> inference_pb2.MultiInferenceResponse:
        spec = request.tasks[0].model_spec if request.tasks else model_pb2.ModelSpec()
        model = self._store.find(spec)
        self._metrics.count_examples(model.name, num_examples(request.input))
        return multi_inference(model, self._run, request)

    def _predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        model = self._store.find(request.model_spec)
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        signature = model.signature_def(name)
        inputs = checked_inputs(signature, request.inputs)
        wanted = checked_filter(signature, request.output_filter)
        outputs = self._run(model, name, inputs)
        response = predict_pb2.PredictResponse(model_spec=effective_spec(model, name))
        for alias in wanted:
            response.outputs[alias].CopyFrom(to_proto(outputs[alias], self._tensor_content))
        return response

    def _metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        require_model_spec(request)
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
