"""Options of `serve`: names and defaults of TF Serving's where it has them."""

from pathlib import Path
from typing import Annotated

import typer

DirOption = Annotated[
    Path | None, typer.Option("--dir", help="Run folder: all its models are served.")
]
ModelBasePathOption = Annotated[
    Path | None,
    typer.Option("--model_base_path", help="Folder of one model's version folders."),
]
ModelNameOption = Annotated[
    str, typer.Option("--model_name", help="Name of the model at --model_base_path.")
]
ModelConfigFileOption = Annotated[
    Path | None,
    typer.Option("--model_config_file", help="Text proto: models, version policies, labels."),
]
PortOption = Annotated[
    int, typer.Option("--port", min=0, max=65535, help="gRPC port; 0 takes a free one.")
]
HostOption = Annotated[
    str, typer.Option("--host", help="Address to listen at; 0.0.0.0 for every network.")
]
RestApiPortOption = Annotated[
    int, typer.Option("--rest_api_port", min=0, max=65535, help="HTTP port; 0: no HTTP.")
]
RestApiTimeoutInMsOption = Annotated[
    int,
    typer.Option(
        "--rest_api_timeout_in_ms", min=1, help="Time until an HTTP request's turn comes."
    ),
]
RestApiNumThreadsOption = Annotated[
    int,
    typer.Option("--rest_api_num_threads", min=0, help="At work over HTTP [4 x CPUs]."),
]
RestApiMaxBodyBytesOption = Annotated[
    int, typer.Option("--rest_api_max_body_bytes", min=1, help="Of one HTTP request.")
]
GrpcMaxThreadsOption = Annotated[
    int, typer.Option("--grpc_max_threads", min=0, help="At work over gRPC [4 x CPUs].")
]
MaxWaitingRequestsOption = Annotated[
    int,
    typer.Option(
        "--max_waiting_requests",
        min=0,
        help="Requests that wait, by port; further ones get RESOURCE_EXHAUSTED (429).",
    ),
]
EnableBatchingOption = Annotated[
    bool,
    typer.Option("--enable_batching", help="Run requests that come at the same time together."),
]
BatchingParametersFileOption = Annotated[
    Path | None,
    typer.Option(
        "--batching_parameters_file", help="Text proto: sizes, waits and threads of batches."
    ),
]
EnablePerModelBatchingParametersOption = Annotated[
    bool,
    typer.Option(
        "--enable_per_model_batching_parameters",
        help="Sizes and waits from the batching_params.pbtxt of each version; versions without "
        "one are not batched.",
    ),
]
MonitoringConfigFileOption = Annotated[
    Path | None,
    typer.Option(
        "--monitoring_config_file",
        help="Text proto: Prometheus metrics on the HTTP port, and their path.",
    ),
]
EnableGrpcHealthcheckServiceOption = Annotated[
    bool,
    typer.Option(
        "--enable_grpc_healthcheck_service",
        help="Also answer grpc.health.v1.Health on the gRPC port.",
    ),
]
FileSystemPollWaitSecondsOption = Annotated[
    float,
    typer.Option(
        "--file_system_poll_wait_seconds",
        min=0,
        help="Between two looks for new versions; 0: only at the start.",
    ),
]
EnableModelWarmupOption = Annotated[
    bool,
    typer.Option(
        "--enable_model_warmup/--noenable_model_warmup",
        help="Replay a version's warm-up requests before it answers.",
    ),
]
MaxNumLoadRetriesOption = Annotated[
    int,
    typer.Option("--max_num_load_retries", min=0, help="For a version whose files stay the same."),
]
LoadRetryIntervalMicrosOption = Annotated[
    int, typer.Option("--load_retry_interval_micros", min=0, help="Between the retries.")
]
ModelConfigFilePollWaitSecondsOption = Annotated[
    float,
    typer.Option(
        "--model_config_file_poll_wait_seconds",
        min=0,
        help="Between two looks at --model_config_file; 0: only at the start.",
    ),
]
EarlyLabelsOption = Annotated[
    bool,
    typer.Option(
        "--allow_version_labels_for_unavailable_models",
        help="A new label may name a version that does not answer yet.",
    ),
]
RestApiEnableCorsSupportOption = Annotated[
    bool,
    typer.Option(
        "--rest_api_enable_cors_support", help="Pages of every origin may read HTTP answers."
    ),
]
EnableSerializationAsTensorContentOption = Annotated[
    bool,
    typer.Option(
        "--enable_serialization_as_tensor_content",
        help="Answer over gRPC with tensors as bytes, not by typed fields.",
    ),
]
UsersOption = Annotated[
    bool | None,
    typer.Option(
        "--users/--no-users",
        help="Also answer Recommend and RecordEvent for the run's users [where cluster-users "
        "has been run].",
    ),
]
PageOption = Annotated[
    bool,
    typer.Option(
        "--page/--no-page",
        help="Show the demo page at / of the HTTP port; with --dir also the run's products, "
        "pictures and users.",
    ),
]
QueryCacheSizeOption = Annotated[
    int,
    typer.Option(
        "--query_cache_size",
        min=0,
        help="MiB of memory for embeddings of texts; 0: every text is embedded anew.",
    ),
]
QueryCacheOption = Annotated[
    str | None,
    typer.Option(
        "--query_cache",
        help="redis://HOST:PORT/DB in place of memory, for several servers to share.",
    ),
]
QueryCacheTtlOption = Annotated[
    float,
    typer.Option("--query_cache_ttl", help="Seconds after which a text is embedded again."),
]
SslConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--ssl_config_file",
        help="Text proto: key, certificate and authority as PEM, for both ports.",
    ),
]
TokenOption = Annotated[
    Path | None,
    typer.Option(
        "--auth_token_file",
        help="Requests must have the token of this file: authorization: Bearer TOKEN "
        "[$TFRS_SAGE_SERVING_TOKEN].",
    ),
]
SocketOption = Annotated[
    Path | None,
    typer.Option("--grpc_socket_path", help="Also answer gRPC at this UNIX socket."),
]
MaxMessageOption = Annotated[
    int,
    typer.Option("--grpc_max_message_bytes", min=1, max=2**31 - 1, help="Of one gRPC request."),
]
MaxRowsOption = Annotated[
    int,
    typer.Option(
        "--max_rows_per_request",
        min=0,
        help="The first dimension of an input at most; 0: as many as come.",
    ),
]
UnsafeOpsOption = Annotated[
    bool,
    typer.Option(
        "--allow_unsafe_ops",
        help="Also load models whose ops reach for files, the network, Python or the process.",
    ),
]
