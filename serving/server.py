"""Starts the gRPC server, and stops it without losing requests."""

import json
import os
import signal
import sys
import threading
from collections.abc import Iterable
from concurrent import futures

import grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from serving.cached_run import CachedRun
from serving.models import LoadedModel, ModelStore
from serving.query_cache import QueryCache
from serving.service import ModelService, PredictionService, Run
from serving.users import SERVICE, UserService
from tfrs_sage.errors import InputError

DEFAULT_PORT = 8500
DEFAULT_HOST = "127.0.0.1"
MAX_MESSAGE_BYTES = 2**31 - 1  # TF Serving's: the most that gRPC takes
DRAIN_S = 30.0


class ModelServer:
    """A running server.

    Args:
        store: the models that it answers with.
        host: address to listen at; this machine only, unless told otherwise.
        port: 0 takes a free one, see `port`.
        users: also answers for users, where given.
        query_cache: of embedded texts, where given.

    Attributes:
        port: the port that it listens at.

    Raises:
        InputError: the address cannot be bound.
    """

    def __init__(
        self,
        store: ModelStore,
        *,
        host: str = DEFAULT_HOST,
        port: int = DEFAULT_PORT,
        users: UserService | None = None,
        query_cache: QueryCache | None = None,
    ) -> None:
        threads = 4 * (os.cpu_count() or 1)  # TF Serving's --grpc_max_threads
        self._server = grpc.server(
            futures.ThreadPoolExecutor(max_workers=threads, thread_name_prefix="grpc"),
            options=[
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                # Else two servers share a port in silence and each gets half the requests.
                ("grpc.so_reuseport", 0),
            ],
        )
        run: Run = LoadedModel.run
        if query_cache is not None:
            store.identities()
            run = CachedRun(query_cache)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictionService(store, run), self._server
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(store), self._server)
        if users is not None:
            self._server.add_generic_rpc_handlers((users.handler(),))
        self.host = host
        try:
            self.port = int(self._server.add_insecure_port(f"{host}:{port}"))
        except RuntimeError as e:
            raise InputError(
                f"the server must be able to listen at {host}:{port}. Found: {e}. Stop what "
                "listens there, or choose another --port."
            ) from e

    def start(self) -> None:
        self._server.start()

    def stop(self, drain_s: float = DRAIN_S) -> None:
        """Refuses new requests, lets running ones end for up to `drain_s` seconds."""
        self._server.stop(drain_s).wait()

    def __enter__(self) -> "ModelServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def serve_until_signal(
    models: Iterable[LoadedModel],
    *,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    drain_s: float = DRAIN_S,
    users: UserService | None = None,
    query_cache: QueryCache | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT, then drains. Call it from the main thread.

    Prints `serving on HOST:PORT ...` on stderr when requests are answered, and at the end what the
    query cache did.
    """
    store = ModelStore(models)
    server = ModelServer(store, host=host, port=port, users=users, query_cache=query_cache)
    stop = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        server.start()
        names = ", ".join(f"{name} {versions}" for name, versions in store.names().items())
        also = "" if users is None else f"; {SERVICE}"
        print(f"serving on {host}:{server.port}: {names}{also}", file=sys.stderr, flush=True)
        stop.wait()
        server.stop(drain_s)
        if query_cache is not None:
            print(f"query cache: {json.dumps(query_cache.counts())}", file=sys.stderr, flush=True)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
