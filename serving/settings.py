"""How a server is run: the flags of TF Serving that it has, with their defaults."""

import dataclasses
import os

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
        metrics_path: where Prometheus reads, on the HTTP port; None is nowhere.
        grpc_health: also answers `grpc.health.v1.Health` on the gRPC port.
        poll_s: seconds between two looks at the models' folders; 0 for one look alone.
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
    metrics_path: str | None = None
    grpc_health: bool = False
    poll_s: float = 1.0
    enable_model_warmup: bool = True
    max_num_load_retries: int = 5
    retry_s: float = 60.0
