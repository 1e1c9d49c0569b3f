"""Requests that are wrong, by the thousand: seeded, each of a kind that is wrong for certain.

Every maker takes a generator of random numbers and returns what goes over the wire. None of them
may make a request that is right by chance: who sends them expects an error for each.
"""

import json
from collections.abc import Callable
from random import Random
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
)

PREDICTION = "/tensorflow.serving.PredictionService"
MODELS = "/tensorflow.serving.ModelService"
CRLF = b"\r\n"


class Call(NamedTuple):
    """A gRPC call: its method, and its message as it is sent."""

    method: str
    message: bytes


class Raw(NamedTuple):
    """What is written to the HTTP port, byte by byte."""

    data: bytes


Made = Call | Raw
Maker = Callable[[Random], Made]


def _bytes(r: Random, most: int = 200) -> bytes:
    return r.randbytes(r.randrange(1, most))


def _name(r: Random) -> str:
    """A name of no model."""
    tricks = [
        "../../etc/passwd",
        "half/../half",
        "half/1",
        "..",
        "/",
        "half\0",
        "half\r\nX: y",
        "-",
    ]
    tricks += ["half" * r.randrange(2, 20_000), "\u202eflah", "半", "%2e%2e%2f", "half ", " half"]
    return r.choice(tricks)


def predict(r: Random) -> predict_pb2.PredictRequest:
    """A right request, to be spoiled."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "half"
    values = np.float32([r.random() for _ in range(r.randrange(2, 9))])
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(values))
    return request


def _call(request: object, method: str = "Predict", service: str = PREDICTION) -> Call:
    return Call(f"{service}/{method}", request.SerializeToString())  # type: ignore[attr-defined]


# ---- gRPC ----


def random_bytes(r: Random) -> Call:
    method = r.choice(["Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata"])
    return Call(f"{PREDICTION}/{method}", b"\xff" + _bytes(r))


def truncated(r: Random) -> Call:
    message = predict(r).SerializeToString()
    return Call(f"{PREDICTION}/Predict", message[: r.randrange(len(message))])


def invalid_utf8(r: Random) -> Call:
    name = b"half" + bytes([r.randrange(0x80, 0xC0)])
    spec = b"\x0a" + bytes([len(name)]) + name
    method = r.choice([f"{PREDICTION}/Predict", f"{MODELS}/GetModelStatus"])
    return Call(method, b"\x0a" + bytes([len(spec)]) + spec)


def wrong_dtype(r: Random) -> Call:
    request = predict(r)
    request.inputs["x"].dtype = r.choice([0, 2, 3, 7, 9, 20, 21, 27, 99, 101, 2**31 - 1, -1])
    return _call(request)


def wrong_shape(r: Random) -> Call:
    request = predict(r)
    shape = request.inputs["x"].tensor_shape
    kind = r.randrange(4)
    if kind == 0:
        shape.dim[0].size = r.choice([-1, -(2**63), 2**62, 2**63 - 1, 2**40, 10**6])
    elif kind == 1:
        shape.unknown_rank = True
        del shape.dim[:]
    elif kind == 2:
        for _ in range(r.randrange(2, 300)):
            shape.dim.add().size = r.choice([0, 2, 2**31, 2**62])
    else:
        del shape.dim[:]
    return _call(request)


def wrong_content(r: Random) -> Call:
    request = predict(r)
    request.inputs["x"].tensor_content += _bytes(r, 4)
    return _call(request)


def unknown_model(r: Random) -> Call:
    name = _name(r)
    request = predict(r)
    request.model_spec.name = name
    status = get_model_status_pb2.GetModelStatusRequest(model_spec=request.model_spec)
    about = get_model_metadata_pb2.GetModelMetadataRequest(
        model_spec=request.model_spec, metadata_field=["signature_def"]
    )
    return r.choice(
        [
            _call(request),
            _call(status, "GetModelStatus", MODELS),
            _call(about, "GetModelMetadata"),
        ]
    )


def unknown_version(r: Random) -> Call:
    request = predict(r)
    if r.random() < 0.5:
        request.model_spec.version.value = r.choice([0, -1, 2**63 - 1, -(2**63), 7])
    else:
        request.model_spec.version_label = _name(r)
    return _call(request)


def wrong_names(r: Random) -> Call:
    request = predict(r)
    kind = r.randrange(4)
    if kind == 0:
        request.model_spec.signature_name = _name(r)
    elif kind == 1:
        request.inputs[_name(r)].CopyFrom(request.inputs["x"])
    elif kind == 2:
        request.output_filter.append(_name(r))
    else:
        request.output_filter.extend(["y"] * r.randrange(2, 1000))
    return _call(request)


def wrong_examples(r: Random) -> Call:
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = r.choice(["examples", "half", _name(r)])
    request.model_spec.signature_name = r.choice(["three", "strange", "renamed", _name(r)])
    for _ in range(r.randrange(3)):
        values = request.input.example_list.examples.add().features.feature["x"]
        values.bytes_list.value.append(_bytes(r))
    return _call(request, r.choice(["Classify", "Regress"]))


def wrong_inference(r: Random) -> Call:
    request = inference_pb2.MultiInferenceRequest()
    for _ in range(r.randrange(50)):
        task = request.tasks.add(method_name=r.choice(["", "tensorflow/serving/regress"]))
        task.model_spec.name = r.choice(["examples", "half", ""])
    return _call(request, "MultiInference")


def wrong_reload(r: Random) -> Call:
    request = model_management_pb2.ReloadConfigRequest()
    if r.random() < 0.2:
        request.config.custom_model_config.SetInParent()
    else:
        paths = ["half", "", "../half", "file"]  # none of them absolute
        for _ in range(r.randrange(1, 20)):
            request.config.model_config_list.config.add(
                name=_name(r), base_path=r.choice(paths), model_platform="tensorflow"
            )
    return _call(request, "HandleReloadConfigRequest", MODELS)


def unknown_call(r: Random) -> Call:
    method = r.choice(["/a/b", f"{PREDICTION}/predict", f"{PREDICTION}/../x", "/", f"{MODELS}/"])
    return Call(method, _bytes(r))


def too_large(r: Random) -> Call:
    return Call(f"{PREDICTION}/Predict", bytes(r.randrange(2 << 20, 3 << 20)))


# ---- HTTP ----


def _post(body: bytes, path: str = "/v1/models/half:predict", *headers: bytes) -> Raw:
    lines = [b"POST " + path.encode() + b" HTTP/1.1", b"Host: x", b"Connection: close", *headers]
    lines.append(b"Content-Length: " + str(len(body)).encode())
    return Raw(CRLF.join(lines) + CRLF * 2 + body)


def http_random(r: Random) -> Raw:
    return _post(r.choice([b"\x80", b"\xff", b"}", b"]", b"\0", b"x"]) + _bytes(r))


def http_truncated(r: Random) -> Raw:
    body = json.dumps({"instances": [r.random() for _ in range(r.randrange(1, 9))]}).encode()
    return _post(body[: r.randrange(len(body))])


def http_deep(r: Random) -> Raw:
    depth = r.choice([65, 100, 500, 900, r.randrange(1_000, 200_000)])
    opened = r.choice(
        ['{"inputs": ' + "[" * depth, '{"a":' * depth, '{"instances": [' + "[" * depth]
    )
    closed = "]" * depth + "}" if r.random() < 0.5 and "[" in opened else ""
    path = r.choice(["/v1/models/half:predict", "/v1/models/examples:regress"])
    return _post((opened + closed).encode(), path)


def http_numbers(r: Random) -> Raw:
    digits = r.choice(
        ["9" * r.randrange(20, 100_000), "1e999", "-1e39", "1" * 400, "0x10", "1.", "+1"]
    )
    return _post(f'{{"signature_name": "types", "inputs": {{"i64": {digits}}}}}'.encode())


def http_types(r: Random) -> Raw:
    wrong = [
        None,
        True,
        "a",
        {"b64": 1},
        {"x": {"x": 1}},
        {"b64": "?"},
        [[1], [2, 3]],
        [1, [2]],
        {},
    ]
    key = r.choice(["inputs", "instances"])
    value = r.choice(wrong)
    return _post(json.dumps({key: [1, value] if key == "instances" else value}).encode())


def http_members(r: Random) -> Raw:
    body = r.choice(
        [
            {},
            [],
            7,
            {"inputs": [1], "instances": [1]},
            {"instances": []},
            {"instances": 5},
            {"signature_name": 7, "inputs": 1},
            {"signature_name": "nope" * r.randrange(1, 5_000), "inputs": 1},
            {"instances": [{str(n): n} for n in range(r.randrange(1, 500))]},
            {"inputs": [[r.random()] * 3] * r.randrange(2, 500)},
        ]
    )
    return _post(json.dumps(body).encode())


def http_text(r: Random) -> Raw:
    wrong = [
        b'"\\ud800"',
        b'"\\udc00x"',
        b'"\xff"',
        b'"\xc3"',
        b'"\xed\xa0\x80"',
        b'"\n"',
        b'"\\x"',
    ]
    text = r.choice(wrong)
    body = r.choice(
        [
            b'{"signature_name": "echo", "inputs": [%s]}',
            b'{"signature_name": %s, "inputs": [1]}',
            b'{"instances": [{%s: 1}]}',
        ]
    )
    return _post(body % text)


def http_examples(r: Random) -> Raw:
    wrong = [None, [], 7, "a", [7], [None], [{"x": None}], [{"x": [[1]]}], [{"x": [1, "a"]}]]
    wrong += [[{"x": 2**64 - 1}], [{"x": {"y": 1}}], [{"x": {"b64": "?"}}], [{"x": "a"}]]
    method = r.choice(["classify", "regress"])
    name = r.choice(["three", "strange", "nope"]) if method == "classify" else ""
    body = {"examples": r.choice(wrong), "signature_name": name}
    return _post(json.dumps(body).encode(), f"/v1/models/examples:{method}")


def http_path(r: Random) -> Raw:
    paths = ["/../../etc/passwd", "/v1/models/../half", "/v1/models/half/versions/../1", "*"]
    paths += ["/v1//models", "/v1/models/%00", "/v1/models/half%2f1", "/v1/models/half/1"]
    paths += ["/v1/models/half/versions/" + "9" * r.randrange(19, 5_000), "/v1/models/half/labels/"]
    paths += ["/v1/models/half/labels/%zz", "/v1/models/half:", "/v1/models/:predict", "http://x/"]
    paths += ["/" + "a" * r.randrange(1, 100_000), "/v1/models/" + "%41" * r.randrange(1, 9_000)]
    path = r.choice(paths)
    if r.random() < 0.5:
        return _post(b'{"instances": [1]}', path)
    return Raw(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())


def http_lengths(r: Random) -> Raw:
    line = r.choice(
        [
            b"Content-Length: -1",
            b"Content-Length: 1e3",
            b"Content-Length: 0x10",
            b"Content-Length: 99",  # of which few come
            b"Content-Length: " + b"9" * r.randrange(10, 60),
            b"Content-Length: 18\r\nContent-Length: 19",
            b"Content-Length: 18\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: gzip",
            b"Content-Length: 18\r\nContent-Encoding: gzip",
            b"Content-Length: 1" + CRLF + b"Expect: 100-continue",
        ]
    )
    head = b"POST /v1/models/half:predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    return Raw(head + line + CRLF * 2 + b'{"instances": [1]}')


def http_lines(r: Random) -> Raw:
    return Raw(
        r.choice(
            [
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + _bytes(r),  # a TLS hello
                b"\0" * r.randrange(1, 100) + CRLF * 2,
                b"GET /" + b"a" * r.randrange(70_000, 90_000) + b" HTTP/1.1" + CRLF * 2,
                b"GET / HTTP/1.1\r\n" + b"".join(b"h%d: 1\r\n" % n for n in range(300)) + CRLF,
                b"GET / HTTP/1.1\r\nx: " + b"a" * 70_000 + CRLF * 2,
                b"GET / HTTP/9.9" + CRLF * 2,
                b"GET / HTTP/x" + CRLF * 2,
                b"FOO / HTTP/1.1\r\nConnection: close" + CRLF * 2,
                b"a b c d e f" + CRLF * 2,
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            ]
        )
    )


MAKERS: tuple[Maker, ...] = (
    *(random_bytes, truncated, invalid_utf8, wrong_dtype, wrong_shape, wrong_content),
    *(unknown_model, unknown_version, wrong_names, wrong_examples, wrong_inference),
    *(wrong_reload, unknown_call, too_large),
    *(http_random, http_truncated, http_deep, http_numbers, http_types, http_members),
    *(http_text, http_examples, http_path, http_lengths, http_lines),
)
