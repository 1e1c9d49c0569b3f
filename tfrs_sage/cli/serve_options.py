"""Options of `serve` about who is let in, and how much they may send."""

from pathlib import Path
from typing import Annotated

import typer

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
