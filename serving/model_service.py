"""The gRPC service about the models: their states, and which of them are served."""

from collections.abc import Callable, Iterable
from typing import Any

import grpc
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
)

from serving.errors import ServingError, invalid_argument, not_found
from serving.metrics import ServingMetrics
from serving.model_config import ModelConfig, from_proto
from serving.service import answer, require_model_spec
from serving.store import ModelStore
from tfrs_sage.errors import InputError

Configure = Callable[[Iterable[ModelConfig]], None]  # as `ModelManager.configure`
_ONLY_LISTS = (
    "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is "
    "currently supported"
)


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus and HandleReloadConfigRequest.

    Args:
        store: the models.
        metrics: of which a reload tells the increase.
        configure: serves other models; None where those that there are stay.
    """

    def __init__(
        self, store: ModelStore, metrics: ServingMetrics, configure: Configure | None = None
    ) -> None:
        self._store, self._metrics, self._configure = store, metrics, configure

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Tells the state of a model's versions; a label in the request is ignored."""
        return answer(lambda r: model_status(self._store, r), request, context)

    def HandleReloadConfigRequest(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Serves the models of the request and no others; returns when they answer."""
        return answer(self._reload, request, context)

    def _reload(
        self, request: model_management_pb2.ReloadConfigRequest
    ) -> model_management_pb2.ReloadConfigResponse:
        if self._configure is None:
            text = "The models of this server cannot be changed while it runs."
            raise ServingError(grpc.StatusCode.UNIMPLEMENTED, text)
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid_argument(_ONLY_LISTS)
        try:
            configs = from_proto(request.config)
        except InputError as error:
            raise invalid_argument(str(error)) from error
        before = {name: self._metrics.total(name) for name in request.metric_names}
        self._configure(configs)
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()
        for name, count in before.items():
            increase = self._metrics.total(name) - count
            response.metric.add(name=name, int64_value_increase=increase)
        return response


def model_status(
    store: ModelStore, request: get_model_status_pb2.GetModelStatusRequest
) -> get_model_status_pb2.GetModelStatusResponse:
    """The states of a model's versions, the newest first.

    Raises:
        ServingError: NOT_FOUND, no such model or version.
    """
    require_model_spec(request)
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
