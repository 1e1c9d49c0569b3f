"""TF Serving's batching, monitoring and SSL files as messages, and what their values must be.

The package `tensorflow-serving-api` has no classes for these files, so that the messages are
declared here, with the fields of `session_bundle_config.proto`, `monitoring_config.proto` and
`ssl_config.proto`.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)

from tfrs_sage.errors import InputError

_PACKAGE = "tfrs_sage.tfserving"
_INT = ".google.protobuf.Int64Value"
_BATCHING = {
    "max_batch_size": _INT,
    "batch_timeout_micros": _INT,
    "max_enqueued_batches": _INT,
    "num_batch_threads": _INT,
    "thread_pool_name": ".google.protobuf.StringValue",
    "allowed_batch_sizes": "repeated int64",
    "pad_variable_length_inputs": "bool",
    "enable_large_batch_splitting": ".google.protobuf.BoolValue",
    "max_execution_batch_size": _INT,
}
_PROMETHEUS = {"enable": "bool", "path": "string"}
_SSL = {
    "server_key": "string",
    "server_cert": "string",
    "custom_ca": "string",
    "client_verify": "bool",
}
_MONITORING = {"prometheus_config": f".{_PACKAGE}.PrometheusConfig"}
_LEAST = {
    "max_batch_size": 1,
    "batch_timeout_micros": 0,
    "max_enqueued_batches": 1,
    "num_batch_threads": 1,
    "max_execution_batch_size": 1,
}


def _pool() -> Any:
    types = descriptor_pb2.FieldDescriptorProto
    plain = {"bool": types.TYPE_BOOL, "string": types.TYPE_STRING, "int64": types.TYPE_INT64}
    file = descriptor_pb2.FileDescriptorProto(
        name="tfrs_sage/tfserving.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=["google/protobuf/wrappers.proto"],
    )
    for message, fields in {
        "BatchingParameters": _BATCHING,
        "PrometheusConfig": _PROMETHEUS,
        "MonitoringConfig": _MONITORING,
        "SSLConfig": _SSL,
    }.items():
        described = file.message_type.add(name=message)
        for number, (name, kind) in enumerate(fields.items(), start=1):
            repeated = kind.startswith("repeated ")
            kind = kind.removeprefix("repeated ")
            field = described.field.add(name=name, number=number)
            field.label = types.LABEL_REPEATED if repeated else types.LABEL_OPTIONAL
            if kind in plain:
                field.type = plain[kind]
            else:
                field.type, field.type_name = types.TYPE_MESSAGE, kind
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return pool


def _new(message: str) -> Any:
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"{_PACKAGE}.{message}"))()


def ssl_message() -> Any:
    """An empty `SSLConfig`."""
    return _new("SSLConfig")


def parse_text(path: Path, message: Any) -> Any:
    """A text proto out of a file, as TF Serving reads it.

    Raises:
        InputError: no such file, no text proto, or a field that the message has not.
    """
    if not path.is_file():
        raise InputError(f"{path} must be a file of TF Serving's. Found: none.")
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), message)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} must be a text proto of the type {message.DESCRIPTOR.name}. Found: {error}"
        ) from error


def monitoring_problems(path: Path) -> Iterator[str]:
    """What is wrong with a monitoring file."""
    config = parse_text(path, _new("MonitoringConfig")).prometheus_config
    if config.path and not config.path.startswith("/"):
        yield f"{path}: the path of the metrics begins with '/'. Found: {config.path!r}."
    if not config.enable:
        yield f"{path}: no metrics are told. Set `enable: true`, or leave the file away."


def metrics_path(path: Path, default: str) -> str | None:
    """Where a monitoring file has the metrics told; None where it does not.

    Raises:
        InputError: not a monitoring file, or no path.
    """
    config = parse_text(path, _new("MonitoringConfig")).prometheus_config
    if not config.enable:
        return None
    if config.path and not config.path.startswith("/"):
        raise InputError(next(monitoring_problems(path)))
    return config.path or default


def batching_message(path: Path) -> Any:
    """A batching file as a message of the fields above.

    Raises:
        InputError: no such file, or not one of batching.
    """
    return parse_text(path, _new("BatchingParameters"))


def batching_problems(path: Path) -> Iterator[str]:
    """What is wrong with a batching file, of the server or of one version."""
    message = batching_message(path)
    given = {
        name: getattr(message, name).value for name in _LEAST if message.HasField(name)
    }  # fields of wrapper types: absent and 0 are not the same
    for name, least in _LEAST.items():
        if given.get(name, least) < least:
            yield f"{path}: {name} must be at least {least}. Found: {given[name]}."
    sizes = list(message.allowed_batch_sizes)
    if sizes != sorted(set(sizes)) or (sizes and sizes[0] < 1):
        yield (
            f"{path}: allowed_batch_sizes entries must be monotonically increasing, from 1. "
            f"Found: {sizes}."
        )
    if sizes and sizes[-1] != given.get("max_batch_size"):
        yield (
            f"{path}: Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
            f"{sizes[-1]}; expected {given.get('max_batch_size', 'one, and none is given')}."
        )
    yield from _splitting_problems(path, message.enable_large_batch_splitting.value, given, sizes)


def _splitting_problems(
    path: Path, splitting: bool, given: Mapping[str, int], sizes: list[int]
) -> Iterator[str]:
    executed = given.get("max_execution_batch_size")
    if executed is None:
        return
    if not splitting:
        yield (
            f"{path}: max_execution_batch_size={executed} is heeded with "
            "enable_large_batch_splitting { value: true } alone. Add it, or take the size out."
        )
    if executed > given.get("max_batch_size", executed):
        yield (
            f"{path}: max_execution_batch_size must be at most max_batch_size. Found: {executed} "
            f"and {given['max_batch_size']}."
        )
    if sizes and executed not in sizes:
        yield (
            f"{path}: max_execution_batch_size={executed} must be one of allowed_batch_sizes, or "
            f"full batches are filled up to the next. Found: {sizes}."
        )
