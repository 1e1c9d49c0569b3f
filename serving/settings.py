"""How a server is run: the flags of TF Serving that it has, with their defaults."""

import dataclasses
import os
from pathlib import Path

from serving.security import Tls, Token

MAX_MESSAGE_BYTES = 2**31 - 1  # TF Serving's: the most that gRPC takes
THREADS = 4 * (os.cpu_count() or 1)  # TF Serving's


@dataclasses.dataclass(frozen=True)
class ServerSettings:
    """Ports and bounds of a server.

    Attributes:
        host: address to listen at; this machine only, unless told otherwise.
        port: of gRPC; 0 takes a free one.
        rest_port: of HTTP; 0 takes a free one, None is none.
        rest_timeout_s: time that an HTTP request may take until its turn comes.
        grpc_max_threads, rest_num_threads: requests that compute at a time, by port.
        max_waiting: requests beyond them, by port, that wait; further ones are refused.
        max_body_bytes: bytes of an HTTP body at most.
        max_message_bytes: bytes of a gRPC message at most.
        max_rows: rows of a request at most (the first dimension of an input); None for any number.
        socket_path: also answers gRPC at this UNIX socket.
        tls: encrypts both ports, where given.
        token: asks for it on both ports, where given.
        allow_unsafe_ops: also loads models whose ops reach beyond themselves.
        metrics_path: where Prometheus reads, on the HTTP port; None is nowhere.
        grpc_health: also answers `grpc.health.v1.Health` on the gRPC port.
        tensor_content: answers carry tensors as bytes (`tensor_content`), not by typed fields.
        cors: answers of HTTP allow every origin.
        poll_s: seconds between two looks at the models' folders; 0 for one look alone.
        config_poll_s: seconds between two looks at the file of models; 0 for one look alone.
        allow_early_labels: a new label may name a version that does not answer yet.
        enable_model_warmup: replay warm-up requests before a version answers.
        max_num_load_retries, retry_s: how often, and how many seconds apart, a version that
            cannot be loaded is tried again while its files stay the same.
    """

    host: str = "127.0.0.1"
    port: int = 8500
    rest_port: int | None = None
    rest_timeout_s: float = 30.0
    grpc_max_threads: int = THREADS
    rest_num_threads: int = THREADS
    max_waiting: int = 256
    max_body_bytes: int = 1 << 24
    max_message_bytes: int = MAX_MESSAGE_BYTES
    max_rows: int | None = None
    socket_path: Path | None = None
    tls: Tls | None = None
    token: Token | None = None
    allow_unsafe_ops: bool = False
    metrics_path: str | None = None
    grpc_health: bool = False
    tensor_content: bool = False
    cors: bool = False
    poll_s: float = 1.0
    config_poll_s: float = 0.0
    allow_early_labels: bool = False
    enable_model_warmup: bool = True
    max_num_load_retries: int = 5
    retry_s: float = 60.0
