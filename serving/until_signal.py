"""The life of a server process: models first, then the ports, until it is told to end."""

import json
import logging
import signal
import sys
import threading
from collections.abc import Sequence

import tensorflow as tf

from serving.batching import Batcher
from serving.config_file import ConfigFile
from serving.errors import ServingError
from serving.manager import ModelManager
from serving.metrics import ServingMetrics
from serving.model_config import ModelConfig
from serving.models import LoadedModel
from serving.page.site import PageData
from serving.query_cache import QueryCache
from serving.security import exposure
from serving.server import DRAIN_S, ModelServer
from serving.settings import ServerSettings
from serving.store import ModelStore
from serving.users import UserService
from serving.wire_messages import USER_SERVICE
from tfrs_sage.errors import InputError


def serve_until_signal(
    models: Sequence[ModelConfig],
    settings: ServerSettings,
    *,
    users: UserService | None = None,
    query_cache: QueryCache | None = None,
    batcher: Batcher | None = None,
    config_file: ConfigFile | None = None,
    page: PageData | None = None,
) -> dict[str, list[int]]:
    """Serves until SIGTERM or SIGINT, then drains. Call it from the main thread.

    Prints `serving on HOST:PORT ...` on stderr when requests are answered, and at the end what the
    query cache did.

    Returns:
        The versions that were served last, by model name.

    Raises:
        InputError: a model of which no version can be loaded, or an address that is taken.
    """
    # Else it says at every start that loading into a session is deprecated.
    tf.get_logger().setLevel(logging.ERROR)
    store, metrics = ModelStore(), ServingMetrics()

    def prepare(model: LoadedModel) -> None:
        if batcher is not None:
            batcher.admit(model)
        if settings.enable_model_warmup:
            metrics.timed_warmup(model)
        if query_cache is not None:
            model.identity  # noqa: B018  (read now, so that no request waits for it)

    manager = ModelManager(
        store,
        prepare,
        max_retries=settings.max_num_load_retries,
        retry_s=settings.retry_s,
        early_labels=settings.allow_early_labels,
        allow_unsafe_ops=settings.allow_unsafe_ops,
    )
    try:
        manager.configure(models)
    except ServingError as error:
        raise InputError(f"{error.text} (asked for: {[m.name for m in models]})") from error
    server = ModelServer(
        store,
        settings,
        users=users,
        query_cache=query_cache,
        batcher=batcher,
        metrics=metrics,
        configure=manager.configure,
        page=page,
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
        if config_file is not None and settings.config_poll_s > 0:
            config_file.follow(manager.configure, settings.config_poll_s)
        names = ", ".join(f"{name} {versions}" for name, versions in store.names().items())
        also = "" if users is None else f"; {USER_SERVICE}"
        if settings.rest_port is not None:
            also += f"; REST on {settings.host}:{server.rest_port}"
            if page is not None:
                scheme = "http" if settings.tls is None else "https"
                also += f"; page at {scheme}://{settings.host}:{server.rest_port}/"
        if warning := exposure(settings.host, settings.tls, settings.token):
            print(warning, file=sys.stderr, flush=True)
        print(f"serving on {server.host}:{server.port}: {names}{also}", file=sys.stderr, flush=True)
        stop.wait()
        server.stop(DRAIN_S)
        if query_cache is not None:
            print(f"query cache: {json.dumps(query_cache.counts())}", file=sys.stderr, flush=True)
    finally:
        if config_file is not None:
            config_file.stop()
        manager.stop()
        for number, handler in before.items():
            signal.signal(number, handler)
    return store.names()
