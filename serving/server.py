"""Starts the gRPC and HTTP ports, and stops them without losing requests."""

import json
import signal
import sys
import threading
import time
from collections.abc import Sequence
from concurrent import futures
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from serving.admission import Admission
from serving.batching import Batcher
from serving.cached_run import CachedRun
from serving.errors import ServingError
from serving.http_server import HttpServer
from serving.manager import ModelManager
from serving.metrics import ServingMetrics
from serving.model_config import ModelConfig
from serving.models import LoadedModel, Run
from serving.query_cache import QueryCache
from serving.rest import RestApi
from serving.service import ModelService, PredictionService
from serving.settings import ServerSettings
from serving.store import ModelStore
from serving.users import UserService
from serving.wire_messages import USER_SERVICE
from tfrs_sage.errors import InputError

MAX_MESSAGE_BYTES = 2**31 - 1  # TF Serving's: the most that gRPC takes
DRAIN_S = 30.0
_SERVICES = ("tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")


class ModelServer:
    """A running server.

    Args:
        store: the models that it answers with.
        settings: ports and bounds; port 0 takes a free one, see `port`.
        users: also answers for users, where given.
        query_cache: of answers to texts, where given.
        batcher: joins requests, where given.
        metrics: what is counted, where others count too.

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
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                # Else two servers share a port in silence and each gets half the requests.
                ("grpc.so_reuseport", 0),
            ],
            # Further calls are RESOURCE_EXHAUSTED.
            maximum_concurrent_rpcs=threads + settings.max_waiting,
        )
        run: Run = LoadedModel.run if batcher is None else batcher
        if query_cache is not None:
            run = CachedRun(query_cache, run)
        run = metrics.timed(run)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictionService(store, run, metrics), self._server
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(store), self._server)
        if users is not None:
            self._server.add_generic_rpc_handlers((users.handler(),))
        self._health: Any = None
        if settings.grpc_health:
            self._health = health.HealthServicer()
            health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self.host = settings.host
        try:
            self.port = int(self._server.add_insecure_port(f"{self.host}:{settings.port}"))
        except RuntimeError as e:
            raise InputError(
                f"the server must be able to listen at {self.host}:{settings.port}. Found: {e}. "
                "Stop what listens there, or choose another --port."
            ) from e
        self._http: HttpServer | None = None
        if settings.rest_port is not None:
            self._http = HttpServer(
                RestApi(store, run, metrics, settings.metrics_path).answer,
                Admission(settings.rest_num_threads, settings.max_waiting),
                host=self.host,
                port=settings.rest_port,
                timeout_s=settings.rest_timeout_s,
                max_body_bytes=settings.max_body_bytes,
            )
            self.rest_port = self._http.port

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


def serve_until_signal(
    models: Sequence[ModelConfig],
    settings: ServerSettings,
    *,
    users: UserService | None = None,
    query_cache: QueryCache | None = None,
    batcher: Batcher | None = None,
) -> dict[str, list[int]]:
    """Serves until SIGTERM or SIGINT, then drains. Call it from the main thread.

    Prints `serving on HOST:PORT ...` on stderr when requests are answered, and at the end what the
    query cache did.

    Returns:
        The versions that were served last, by model name.

    Raises:
        InputError: a model of which no version can be loaded, or an address that is taken.
    """
    store, metrics = ModelStore(), ServingMetrics()

    def prepare(model: LoadedModel) -> None:
        if batcher is not None:
            batcher.admit(model)
        if settings.enable_model_warmup:
            metrics.timed_warmup(model)
        if query_cache is not None:
            model.identity  # noqa: B018  (read now, so that no request waits for it)

    manager = ModelManager(
        store, prepare, max_retries=settings.max_num_load_retries, retry_s=settings.retry_s
    )
    try:
        manager.configure(models)
    except ServingError as error:
        raise InputError(f"{error.text} (asked for: {[m.name for m in models]})") from error
    server = ModelServer(
        store, settings, users=users, query_cache=query_cache, batcher=batcher, metrics=metrics
    )
    stop = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        server.start()
        if settings.poll_s > 0:
            manager.start(settings.poll_s)
        names = ", ".join(f"{name} {versions}" for name, versions in store.names().items())
        also = "" if users is None else f"; {USER_SERVICE}"
        if settings.rest_port is not None:
            also += f"; REST on {settings.host}:{server.rest_port}"
        print(f"serving on {server.host}:{server.port}: {names}{also}", file=sys.stderr, flush=True)
        stop.wait()
        server.stop(DRAIN_S)
        if query_cache is not None:
            print(f"query cache: {json.dumps(query_cache.counts())}", file=sys.stderr, flush=True)
    finally:
        manager.stop()
        for number, handler in before.items():
            signal.signal(number, handler)
    return store.names()
