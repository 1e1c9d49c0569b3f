"""`tfrs-sage serve`: answers TF Serving's gRPC and REST APIs with exported models."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from tfrs_sage.cli.options import StoreOption
from tfrs_sage.cli.output import JsonOption, emit
from tfrs_sage.cli.serve_options import (
    MaxMessageOption,
    MaxRowsOption,
    SocketOption,
    SslConfigOption,
    TokenOption,
    UnsafeOpsOption,
)
from tfrs_sage.errors import InputError


def user_service(run_dir: Path, wanted: bool | None, store: str | None) -> Any:
    """The service for a run's users; None where it is not wanted, or there are none."""
    from serving.run_users import has_users, open_users
    from tfrs_sage.training.config import read_config

    if wanted is None:
        wanted = store is not None or has_users(run_dir)
    if not wanted:
        return None
    return open_users(run_dir, read_config(run_dir / "config.yaml").users, store)


def page_data(run_dir: Path | None, service: Any) -> Any:
    """What the demo page shows of a run; nothing but ids where there is none."""
    from serving.page.catalogue import Catalogue
    from serving.page.people import People
    from serving.page.site import PageData
    from tfrs_sage.cli.run_folder import read_state

    if run_dir is None:
        return PageData()
    tables = read_state(run_dir).get("input")
    return PageData(
        catalogue=None if tables is None else Catalogue(tables),
        people=None if service is None else People(service, run_dir / "users" / "batch"),
    )


def serve(
    dir: Annotated[
        Path | None, typer.Option("--dir", help="Run folder: all its models are served.")
    ] = None,
    model_base_path: Annotated[
        Path | None,
        typer.Option("--model_base_path", help="Folder of one model's version folders."),
    ] = None,
    model_name: Annotated[
        str, typer.Option("--model_name", help="Name of the model at --model_base_path.")
    ] = "default",
    model_config_file: Annotated[
        Path | None,
        typer.Option("--model_config_file", help="Text proto: models, version policies, labels."),
    ] = None,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="gRPC port; 0 takes a free one.")
    ] = 8500,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen at; 0.0.0.0 for every network.")
    ] = "127.0.0.1",
    rest_api_port: Annotated[
        int, typer.Option("--rest_api_port", min=0, max=65535, help="HTTP port; 0: no HTTP.")
    ] = 0,
    rest_api_timeout_in_ms: Annotated[
        int,
        typer.Option(
            "--rest_api_timeout_in_ms", min=1, help="Time until an HTTP request's turn comes."
        ),
    ] = 30_000,
    rest_api_num_threads: Annotated[
        int,
        typer.Option("--rest_api_num_threads", min=0, help="At work over HTTP [4 x CPUs]."),
    ] = 0,
    rest_api_max_body_bytes: Annotated[
        int, typer.Option("--rest_api_max_body_bytes", min=1, help="Of one HTTP request.")
    ] = 1 << 24,
    grpc_max_threads: Annotated[
        int, typer.Option("--grpc_max_threads", min=0, help="At work over gRPC [4 x CPUs].")
    ] = 0,
    max_waiting_requests: Annotated[
        int,
        typer.Option(
            "--max_waiting_requests",
            min=0,
            help="Requests that wait, by port; further ones get RESOURCE_EXHAUSTED (429).",
        ),
    ] = 256,
    enable_batching: Annotated[
        bool,
        typer.Option("--enable_batching", help="Run requests that come at the same time together."),
    ] = False,
    batching_parameters_file: Annotated[
        Path | None,
        typer.Option(
            "--batching_parameters_file", help="Text proto: sizes, waits and threads of batches."
        ),
    ] = None,
    enable_per_model_batching_parameters: Annotated[
        bool,
        typer.Option(
            "--enable_per_model_batching_parameters",
            help="Sizes and waits from the batching_params.pbtxt of each version; versions without "
            "one are not batched.",
        ),
    ] = False,
    monitoring_config_file: Annotated[
        Path | None,
        typer.Option(
            "--monitoring_config_file",
            help="Text proto: Prometheus metrics on the HTTP port, and their path.",
        ),
    ] = None,
    enable_grpc_healthcheck_service: Annotated[
        bool,
        typer.Option(
            "--enable_grpc_healthcheck_service",
            help="Also answer grpc.health.v1.Health on the gRPC port.",
        ),
    ] = False,
    file_system_poll_wait_seconds: Annotated[
        float,
        typer.Option(
            "--file_system_poll_wait_seconds",
            min=0,
            help="Between two looks for new versions; 0: only at the start.",
        ),
    ] = 1.0,
    enable_model_warmup: Annotated[
        bool,
        typer.Option(
            "--enable_model_warmup/--noenable_model_warmup",
            help="Replay a version's warm-up requests before it answers.",
        ),
    ] = True,
    max_num_load_retries: Annotated[
        int,
        typer.Option(
            "--max_num_load_retries", min=0, help="For a version whose files stay the same."
        ),
    ] = 5,
    load_retry_interval_micros: Annotated[
        int, typer.Option("--load_retry_interval_micros", min=0, help="Between the retries.")
    ] = 60_000_000,
    model_config_file_poll_wait_seconds: Annotated[
        float,
        typer.Option(
            "--model_config_file_poll_wait_seconds",
            min=0,
            help="Between two looks at --model_config_file; 0: only at the start.",
        ),
    ] = 0.0,
    allow_version_labels_for_unavailable_models: Annotated[
        bool,
        typer.Option(
            "--allow_version_labels_for_unavailable_models",
            help="A new label may name a version that does not answer yet.",
        ),
    ] = False,
    rest_api_enable_cors_support: Annotated[
        bool,
        typer.Option(
            "--rest_api_enable_cors_support", help="Pages of every origin may read HTTP answers."
        ),
    ] = False,
    enable_serialization_as_tensor_content: Annotated[
        bool,
        typer.Option(
            "--enable_serialization_as_tensor_content",
            help="Answer over gRPC with tensors as bytes, not by typed fields.",
        ),
    ] = False,
    ssl_config_file: SslConfigOption = None,
    auth_token_file: TokenOption = None,
    grpc_socket_path: SocketOption = None,
    grpc_max_message_bytes: MaxMessageOption = 2**31 - 1,
    max_rows_per_request: MaxRowsOption = 0,
    allow_unsafe_ops: UnsafeOpsOption = False,
    users: Annotated[
        bool | None,
        typer.Option(
            "--users/--no-users",
            help="Also answer Recommend and RecordEvent for the run's users [where cluster-users "
            "has been run].",
        ),
    ] = None,
    store: StoreOption = None,
    page: Annotated[
        bool,
        typer.Option(
            "--page/--no-page",
            help="Show the demo page at / of the HTTP port; with --dir also the run's products, "
            "pictures and users.",
        ),
    ] = True,
    query_cache_size: Annotated[
        int,
        typer.Option(
            "--query_cache_size",
            min=0,
            help="MiB of memory for embeddings of texts; 0: every text is embedded anew.",
        ),
    ] = 0,
    query_cache: Annotated[
        str | None,
        typer.Option(
            "--query_cache",
            help="redis://HOST:PORT/DB in place of memory, for several servers to share.",
        ),
    ] = None,
    query_cache_ttl: Annotated[
        float,
        typer.Option("--query_cache_ttl", help="Seconds after which a text is embedded again."),
    ] = 30 * 86_400.0,
    as_json: JsonOption = False,
) -> None:
    """Serve exported models over TF Serving's gRPC and REST APIs until SIGTERM or Ctrl-C.

    New versions are served once they are loaded and warmed up, then the old ones go. With --dir
    also the run's users, by tfrs_sage.users.v1.UserService of the gRPC port.
    """
    given = [one for one in (dir, model_base_path, model_config_file) if one is not None]
    if len(given) != 1:
        raise InputError(
            "serve takes one of --dir, --model_base_path and --model_config_file. Received: "
            f"{len(given)} of them."
        )
    if dir is None and (users or store):
        raise InputError(
            "The users that are served are a run's. Received: --users or --store without --dir. "
            "Give --dir in place of --model_base_path."
        )
    # Requests share the cores. Threads for each of their small products would only wait for one
    # another: ten times the time, measured. Heeded because NumPy is not loaded yet.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from serving.batching import open_batcher
    from serving.config_file import ConfigFile
    from serving.metrics import DEFAULT_PATH
    from serving.model_config import ModelConfig, models_of_folder
    from serving.models import register_custom_ops
    from serving.query_cache import open_query_cache
    from serving.security import read_ssl_config, read_token
    from serving.server import serve_until_signal
    from serving.settings import THREADS, ServerSettings
    from serving.tfserving.parameters import metrics_path

    settings = ServerSettings(
        host=host,
        port=port,
        rest_port=rest_api_port or None,
        rest_timeout_s=rest_api_timeout_in_ms / 1000,
        grpc_max_threads=grpc_max_threads or THREADS,
        rest_num_threads=rest_api_num_threads or THREADS,
        max_waiting=max_waiting_requests,
        max_body_bytes=rest_api_max_body_bytes,
        max_message_bytes=grpc_max_message_bytes,
        max_rows=max_rows_per_request or None,
        socket_path=grpc_socket_path,
        tls=read_ssl_config(ssl_config_file) if ssl_config_file else None,
        token=read_token(auth_token_file),
        allow_unsafe_ops=allow_unsafe_ops,
        metrics_path=metrics_path(monitoring_config_file, DEFAULT_PATH)
        if monitoring_config_file
        else None,
        grpc_health=enable_grpc_healthcheck_service,
        tensor_content=enable_serialization_as_tensor_content,
        cors=rest_api_enable_cors_support,
        poll_s=file_system_poll_wait_seconds,
        config_poll_s=model_config_file_poll_wait_seconds,
        allow_early_labels=allow_version_labels_for_unavailable_models,
        enable_model_warmup=enable_model_warmup,
        max_num_load_retries=max_num_load_retries,
        retry_s=load_retry_interval_micros / 1e6,
    )
    cache = open_query_cache(query_cache, query_cache_size, query_cache_ttl)
    batcher = open_batcher(
        enable_batching, batching_parameters_file, enable_per_model_batching_parameters
    )
    register_custom_ops()
    config_file = None
    if dir is not None:
        from tfrs_sage.cli.run_folder import read_state

        models = models_of_folder(read_state(dir).get("saved_models") or dir / "saved_models")
    elif model_config_file is not None:
        config_file = ConfigFile(model_config_file)
        models = config_file.read()
    else:
        assert model_base_path is not None
        models = [ModelConfig(model_name, model_base_path)]
    service = user_service(dir, users, store) if dir else None
    served = serve_until_signal(
        models,
        settings,
        users=service,
        query_cache=cache,
        batcher=batcher,
        config_file=config_file,
        page=page_data(dir, service) if page and rest_api_port else None,
    )
    result: dict[str, Any] = {
        "served": [{"name": n, "version": v} for n, versions in served.items() for v in versions]
    }
    if cache is not None:
        result["query_cache"] = cache.counts()
        cache.close()
    emit(result, as_json, "stopped")
