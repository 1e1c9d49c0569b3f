"""Starts the gRPC and HTTP ports, and stops them without losing requests."""

import time
from concurrent import futures
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from serving.admission import Admission
from serving.batching import Batcher
from serving.cached_run import CachedRun
from serving.checks import bounded
from serving.http_server import HttpServer
from serving.metrics import ServingMetrics
from serving.model_service import Configure, ModelService
from serving.models import LoadedModel, Run
from serving.page.site import PageData, Site
from serving.parsing import ParsingInterceptor
from serving.query_cache import QueryCache
from serving.rest import RestApi
from serving.security import Tls, TokenInterceptor
from serving.service import PredictionService
from serving.settings import MAX_MESSAGE_BYTES, ServerSettings
from serving.store import ModelStore
from serving.users import UserService
from tfrs_sage.errors import InputError

DRAIN_S = 30.0
# By their names on the wire, and by those that TF Serving tells its health under.
_SERVICES = tuple(
    f"{package}{name}"
    for package in ("tensorflow.serving.", "")
    for name in ("PredictionService", "ModelService")
)


class ModelServer:
    """A running server.

    Args:
        store: the models that it answers with.
        settings: ports and bounds; port 0 takes a free one, see `port`.
        users: also answers for users, where given.
        query_cache: of answers to texts, where given.
        batcher: joins requests, where given.
        metrics: what is counted, where others count too.
        configure: serves other models on HandleReloadConfigRequest, where given.
        page: also answers the demo page with this on the HTTP port, where given.

    Attributes:
        port: the port of gRPC.
        rest_port: the port of HTTP, where there is one.

    Raises:
        InputError: an address cannot be bound.
    """

    def __init__(
        self,
        store: ModelStore,
        settings: ServerSettings | None = None,
        *,
        users: UserService | None = None,
        query_cache: QueryCache | None = None,
        batcher: Batcher | None = None,
        metrics: ServingMetrics | None = None,
        configure: Configure | None = None,
        page: PageData | None = None,
    ) -> None:
        settings = settings or ServerSettings()
        metrics = metrics or ServingMetrics()
        if query_cache is not None:
            metrics.add_counts("query_cache", query_cache.counts)
        if batcher is not None:
            metrics.add_counts("batching", batcher.counts)
        if users is not None:
            metrics.add_counts("medoid_cache", users.cache_counts)
        threads = settings.grpc_max_threads
        self._server = grpc.server(
            futures.ThreadPoolExecutor(max_workers=threads, thread_name_prefix="grpc"),
            options=[
                ("grpc.max_receive_message_length", settings.max_message_bytes),
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                # Else two servers share a port in silence and each gets half the requests.
                ("grpc.so_reuseport", 0),
            ],
            # Refuses without a token first: what strangers send is not parsed.
            interceptors=[
                *([TokenInterceptor(settings.token)] if settings.token else []),
                ParsingInterceptor(),
            ],
            # Further calls are RESOURCE_EXHAUSTED.
            maximum_concurrent_rpcs=threads + settings.max_waiting,
        )
        run: Run = LoadedModel.run if batcher is None else batcher
        if query_cache is not None:
            run = CachedRun(query_cache, run)
        run = metrics.timed(run)
        if settings.max_rows is not None:
            run = bounded(run, settings.max_rows)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictionService(store, run, metrics, settings.tensor_content), self._server
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            ModelService(store, metrics, configure), self._server
        )
        if users is not None:
            self._server.add_generic_rpc_handlers((users.handler(),))
        self._health: Any = None
        if settings.grpc_health:
            self._health = health.HealthServicer()
            health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self.host = settings.host
        self.port = self._bind(f"{self.host}:{settings.port}", settings.tls, "--port")
        if settings.socket_path is not None:
            self._bind(f"unix:{settings.socket_path}", settings.tls, "--grpc_socket_path")
        self._http: HttpServer | None = None
        if settings.rest_port is not None:
            rest = RestApi(store, run, metrics, settings.metrics_path).answer
            site = None if page is None else Site(store, rest, page)
            self._http = HttpServer(
                rest if site is None else site.answer,
                Admission(settings.rest_num_threads, settings.max_waiting),
                host=self.host,
                port=settings.rest_port,
                timeout_s=settings.rest_timeout_s,
                max_body_bytes=settings.max_body_bytes,
                cors=settings.cors,
                tls=settings.tls.context() if settings.tls else None,
                token=settings.token,
                open_paths=() if site is None else site.open_paths,
            )
            self.rest_port = self._http.port

    def _bind(self, address: str, tls: Tls | None, option: str) -> int:
        """Listens at an address; returns the port."""
        try:
            if tls is None:
                return int(self._server.add_insecure_port(address))
            return int(self._server.add_secure_port(address, tls.grpc_credentials()))
        except RuntimeError as e:
            raise InputError(
                f"the server must be able to listen at {address}. Found: {e}. Stop what listens "
                f"there, or choose another {option}."
            ) from e

    def start(self) -> None:
        self._server.start()
        if self._health is not None:
            for service in ("", *_SERVICES):
                self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        if self._http is not None:
            self._http.start()

    def stop(self, drain_s: float = DRAIN_S) -> None:
        """Refuses new requests, lets running ones end for up to `drain_s` seconds."""
        end = time.monotonic() + drain_s
        if self._health is not None:
            self._health.enter_graceful_shutdown()
        stopped = self._server.stop(drain_s)
        if self._http is not None:
            self._http.stop(max(0.0, end - time.monotonic()))
        stopped.wait()

    def __enter__(self) -> "ModelServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
