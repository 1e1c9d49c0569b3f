"""The HTTP port: connections, bodies within bounds, answers.

One thread a connection, at most so many of them; what computes, and what is read into memory, is
bounded by an `Admission`.
"""

import json
import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import Container, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc

from serving.admission import Admission
from serving.errors import ServingError
from serving.rest import Answer, Reply, error_reply
from serving.security import REFUSED, Token
from tfrs_sage.errors import InputError

logger = logging.getLogger(__name__)
MAX_CONNECTIONS = 1024
IDLE_S = 60.0  # a connection that says nothing for so long is closed
_DRAIN_BYTES = 1 << 26  # of a refused body that are read, so that its sender sees the answer
_CHUNK = 1 << 16
_ORIGIN = re.compile(r"https?://")
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

        class Handler(_Handler):
            pass

        Handler.answer, Handler.admission = staticmethod(answer), admission
        Handler.request_s, Handler.max_body_bytes = timeout_s, max_body_bytes
        Handler.headers_sent = _CORS if cors else {}
        Handler.token, Handler.open_paths = token, open_paths
        try:
            self._server = _Server((host, port), Handler)
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


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body of an answer together
    timeout = IDLE_S
    answer: Answer
    admission: Admission
    request_s: float
    max_body_bytes: int
    headers_sent: Mapping[str, str]  # with every answer
    token: Token | None
    open_paths: Container[str]

    def handle(self) -> None:
        try:
            super().handle()
        # The client went, sends no more, or does not speak TLS.
        except (ConnectionError, TimeoutError, ssl.SSLError):
            logger.debug("connection of %s lost", self.client_address)

    def _serve(self) -> None:
        deadline = time.monotonic() + self.request_s
        if self.command == "OPTIONS":
            self._preflight()
            return
        if not self._is_admitted():
            self._refuse(error_reply(ServingError(grpc.StatusCode.UNAUTHENTICATED, REFUSED)))
            return
        has_body = bool({"Content-Length", "Transfer-Encoding"} & {*self.headers})
        if self.command == "GET" and not has_body and not self.path.startswith("/page/"):
            # States and metrics cost little, and tell most when the house is full.
            self._send(self.answer(self.command, self.path, b""))
            return
        try:
            with self.admission.place():
                length = self._body_length()
                if isinstance(length, Reply):
                    self._refuse(length)
                    return
                body = self.rfile.read(length)
                if len(body) < length:  # the client went
                    self.close_connection = True
                    return
                with self.admission.turn(deadline):
                    reply = self.answer(self.command, self.path, body)
                self._send(reply)
        except ServingError as error:
            self._refuse(error_reply(error))

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_HEAD = _serve

    def _is_admitted(self) -> bool:
        """Whether a request has the token, where one is asked for."""
        if self.token is None or self.path.partition("?")[0] in self.open_paths:
            return True
        return self.token.admits(self.headers.get("Authorization"))

    def _preflight(self) -> None:
        """What browsers ask before they send to another origin."""
        if _ORIGIN.match(self.headers.get("Origin", "")):
            self._refuse(Reply(200, b""))
        else:
            text = "Origin header is missing in CORS preflight"
            self._refuse(error_reply(ServingError(grpc.StatusCode.FAILED_PRECONDITION, text)))

    def _body_length(self) -> int | Reply:
        """Bytes of the body, or why it is not taken."""
        if "Transfer-Encoding" in self.headers:
            return _refusal(411, "A body must have a Content-Length. Received: Transfer-Encoding.")
        encoding = self.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            return _refusal(415, f"A body must be sent as it is. Received: {encoding[:40]!r}.")
        text = self.headers.get("Content-Length", "0")
        if not (text.isascii() and text.isdigit()) or len(text) > 18:
            return _refusal(400, f"Content-Length must be a whole number. Received: {text[:40]!r}.")
        if int(text) > self.max_body_bytes:
            return _refusal(
                413,
                f"A body may have {self.max_body_bytes} bytes. Received: {int(text)}. Send fewer "
                "rows at a time, or use gRPC.",
            )
        return int(text)

    def _refuse(self, reply: Reply) -> None:
        """Answers without having read the body; the connection cannot be used any more."""
        self.close_connection = True
        self._send(reply)
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(1.0)
        left = _DRAIN_BYTES
        while left > 0 and (chunk := self.connection.recv(_CHUNK)):
            left -= len(chunk)

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        for name, value in (*self.headers_sent.items(), *reply.headers):
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)
        self.wfile.flush()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class says of lines that are no HTTP, as JSON."""
        self.close_connection = True
        self.command = self.command or ""
        self._send(_refusal(int(code), message or "not an HTTP request"))

    def version_string(self) -> str:
        return "tfrs-sage"

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug(format, *args)


def _refusal(status: int, text: str) -> Reply:
    return Reply(status, json.dumps({"error": text}).encode())
