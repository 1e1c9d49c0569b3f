"""The HTTP port: one thread a connection, at most so many of them."""

import ssl
import threading
from collections.abc import Container
from http.server import ThreadingHTTPServer
from typing import Any

from serving.admission import Admission
from serving.http_handler import Handler
from serving.rest import Answer
from serving.security import Token
from tfrs_sage.errors import InputError

MAX_CONNECTIONS = 1024
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type, Authorization",
}


class HttpServer:
    """A running HTTP server.

    Args:
        answer: gives the reply to a request; called by many threads, never raises for a request.
        admission: who is let in.
        host: address to listen at.
        port: 0 takes a free one.
        timeout_s: time that a request may take until its turn comes.
        max_body_bytes: bytes of a body at most; a longer one is refused unread (413).
        cors: pages of every origin may read the answers.
        tls: what the connections are encrypted with, where given.
        token: what requests must have, where given; those of `open_paths` need not.
        open_paths: what can be read without it.

    Attributes:
        port: the port that it listens at.

    Raises:
        InputError: the address cannot be bound.
    """

    def __init__(
        self,
        answer: Answer,
        admission: Admission,
        *,
        host: str,
        port: int,
        timeout_s: float,
        max_body_bytes: int,
        cors: bool = False,
        tls: ssl.SSLContext | None = None,
        token: Token | None = None,
        open_paths: Container[str] = (),
    ) -> None:
        self._admission = admission

        class OfThisServer(Handler):
            pass

        OfThisServer.answer, OfThisServer.admission = staticmethod(answer), admission
        OfThisServer.request_s, OfThisServer.max_body_bytes = timeout_s, max_body_bytes
        OfThisServer.headers_sent = _CORS if cors else {}
        OfThisServer.token, OfThisServer.open_paths = token, open_paths
        try:
            self._server = _Server((host, port), OfThisServer)
        except OSError as e:
            raise InputError(
                f"the server must be able to listen at {host}:{port}. Found: {e}. Stop what "
                "listens there, or choose another --rest_api_port."
            ) from e
        if tls is not None:
            # Hands are shaken by the connection's own thread, so that nobody holds up the others.
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="http"
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self, drain_s: float) -> None:
        """Refuses new requests, lets running ones end for up to `drain_s` seconds."""
        self._admission.close(drain_s)
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # idle connections do not keep the process
    block_on_close = False
    request_queue_size = 128

    def __init__(self, *args: Any) -> None:
        self._connections = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._connections.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()
