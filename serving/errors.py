"""Errors that travel to the client: a gRPC status code and TF Serving's words."""

import re

import grpc

# TF Serving cuts what it sends, so that a long error fits into HTTP/2 trailers.
MAX_TEXT = 1024
_TRUNCATED = "...TRUNCATED"

_CODES = {code.value[0]: code for code in grpc.StatusCode}
# What TensorFlow's Python puts before the runtime's own message.
_PYTHON_PREFIX = re.compile(
    r"\AGraph execution error:\n\n(?:.*<stack traces unavailable>\n)?", re.DOTALL
)


class ServingError(Exception):
    """A request that cannot be answered.

    Args:
        code: the gRPC status code.
        text: what the client sees.
    """

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = truncated(text)


def truncated(text: str) -> str:
    """At most 1,024 characters, then `...TRUNCATED`."""
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + _TRUNCATED


def invalid_argument(text: str) -> ServingError:
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, text)


def not_found(text: str) -> ServingError:
    return ServingError(grpc.StatusCode.NOT_FOUND, text)


def from_tensorflow(error: Exception) -> ServingError:
    """The status of a `tf.errors.OpError`: TensorFlow's codes are gRPC's."""
    code = _CODES.get(getattr(error, "error_code", None), grpc.StatusCode.UNKNOWN)
    text = str(getattr(error, "message", error))
    return ServingError(code, _PYTHON_PREFIX.sub("", text))
