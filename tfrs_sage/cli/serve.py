"""`tfrs-sage serve`: answers TF Serving's gRPC and REST APIs with exported models."""

import os
from pathlib import Path
from typing import Any

from tfrs_sage.cli.options import StoreOption
from tfrs_sage.cli.output import JsonOption, emit
from tfrs_sage.cli.serve_options import (
    BatchingParametersFileOption,
    DirOption,
    EarlyLabelsOption,
    EnableBatchingOption,
    EnableGrpcHealthcheckServiceOption,
    EnableModelWarmupOption,
    EnablePerModelBatchingParametersOption,
    EnableSerializationAsTensorContentOption,
    FileSystemPollWaitSecondsOption,
    GrpcMaxThreadsOption,
    HostOption,
    LoadRetryIntervalMicrosOption,
    MaxMessageOption,
    MaxNumLoadRetriesOption,
    MaxRowsOption,
    MaxWaitingRequestsOption,
    ModelBasePathOption,
    ModelConfigFileOption,
    ModelConfigFilePollWaitSecondsOption,
    ModelNameOption,
    MonitoringConfigFileOption,
    PageOption,
    PortOption,
    QueryCacheOption,
    QueryCacheSizeOption,
    QueryCacheTtlOption,
    RestApiEnableCorsSupportOption,
    RestApiMaxBodyBytesOption,
    RestApiNumThreadsOption,
    RestApiPortOption,
    RestApiTimeoutInMsOption,
    SocketOption,
    SslConfigOption,
    TokenOption,
    UnsafeOpsOption,
    UsersOption,
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
    dir: DirOption = None,
    model_base_path: ModelBasePathOption = None,
    model_name: ModelNameOption = "default",
    model_config_file: ModelConfigFileOption = None,
    port: PortOption = 8500,
    host: HostOption = "127.0.0.1",
    rest_api_port: RestApiPortOption = 0,
    rest_api_timeout_in_ms: RestApiTimeoutInMsOption = 30_000,
    rest_api_num_threads: RestApiNumThreadsOption = 0,
    rest_api_max_body_bytes: RestApiMaxBodyBytesOption = 1 << 24,
    grpc_max_threads: GrpcMaxThreadsOption = 0,
    max_waiting_requests: MaxWaitingRequestsOption = 256,
    enable_batching: EnableBatchingOption = False,
    batching_parameters_file: BatchingParametersFileOption = None,
    enable_per_model_batching_parameters: EnablePerModelBatchingParametersOption = False,
    monitoring_config_file: MonitoringConfigFileOption = None,
    enable_grpc_healthcheck_service: EnableGrpcHealthcheckServiceOption = False,
    file_system_poll_wait_seconds: FileSystemPollWaitSecondsOption = 1.0,
    enable_model_warmup: EnableModelWarmupOption = True,
    max_num_load_retries: MaxNumLoadRetriesOption = 5,
    load_retry_interval_micros: LoadRetryIntervalMicrosOption = 60_000_000,
    model_config_file_poll_wait_seconds: ModelConfigFilePollWaitSecondsOption = 0.0,
    allow_version_labels_for_unavailable_models: EarlyLabelsOption = False,
    rest_api_enable_cors_support: RestApiEnableCorsSupportOption = False,
    enable_serialization_as_tensor_content: EnableSerializationAsTensorContentOption = False,
    ssl_config_file: SslConfigOption = None,
    auth_token_file: TokenOption = None,
    grpc_socket_path: SocketOption = None,
    grpc_max_message_bytes: MaxMessageOption = 2**31 - 1,
    max_rows_per_request: MaxRowsOption = 0,
    allow_unsafe_ops: UnsafeOpsOption = False,
    users: UsersOption = None,
    store: StoreOption = None,
    page: PageOption = True,
    query_cache_size: QueryCacheSizeOption = 0,
    query_cache: QueryCacheOption = None,
    query_cache_ttl: QueryCacheTtlOption = 30 * 86_400.0,
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
    from serving.settings import THREADS, ServerSettings
    from serving.tfserving.parameters import metrics_path
    from serving.until_signal import serve_until_signal

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
