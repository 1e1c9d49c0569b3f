"""Requests of HTTP: who is let in, bodies within bounds, answers."""

import contextlib
import json
import logging
import re
import socket
import ssl
import time
from collections.abc import Container, Mapping
from http.server import BaseHTTPRequestHandler
from typing import Any

import grpc

from serving.admission import Admission
from serving.errors import ServingError
from serving.rest import Answer, Reply, error_reply
from serving.security import REFUSED, Token

logger = logging.getLogger(__name__)
IDLE_S = 60.0  # a connection that says nothing for so long is closed
_DRAIN_BYTES = 1 << 26  # of a refused body that are read, so that its sender sees the answer
_CHUNK = 1 << 16
_ORIGIN = re.compile(r"https?://")


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection.

    What computes, and what is read into memory, is bounded by the `Admission`. A server makes a
    class of its own of it, with the fields that have no value here.
    """

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
                body = self._body(length, deadline)
                if isinstance(body, Reply):
                    self._refuse(body)
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
        lengths = {*self.headers.get_all("Content-Length", ["0"])}
        text = ", ".join(sorted(lengths))  # several: who reads which is how requests are smuggled
        if not (text.isascii() and text.isdigit()) or len(text) > 18:
            return _refusal(400, f"Content-Length must be a whole number. Received: {text[:40]!r}.")
        if int(text) > self.max_body_bytes:
            return _refusal(
                413,
                f"A body may have {self.max_body_bytes} bytes. Received: {int(text)}. Send fewer "
                "rows at a time, or use gRPC.",
            )
        return int(text)

    def _body(self, length: int, deadline: float) -> bytes | Reply:
        """The body, or why it is not had: a client that is slow keeps a place from others."""
        body = bytearray()
        try:
            while len(body) < length:
                self.connection.settimeout(max(0.001, deadline - time.monotonic()))
                piece = self.rfile.read1(length - len(body))
                if not piece:  # the client sends no more, but may listen still
                    text = f"A body must have its Content-Length, {length}. Received: {len(body)}."
                    return _refusal(400, text)
                body += piece
        except TimeoutError:
            return _refusal(408, f"The body did not come within {self.request_s:g} s.")
        finally:
            self.connection.settimeout(IDLE_S)
        return bytes(body)

    def _refuse(self, reply: Reply) -> None:
        """Answers without having read the body; the connection cannot be used any more."""
        self.close_connection = True
        self._send(reply)
        with contextlib.suppress(OSError):  # the client has gone already
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
        self.command = self.command or ""
        self._refuse(_refusal(int(code), message or "not an HTTP request"))

    def version_string(self) -> str:
        return "tfrs-sage"

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug(format, *args)


def _refusal(status: int, text: str) -> Reply:
    return Reply(status, json.dumps({"error": text}).encode())
