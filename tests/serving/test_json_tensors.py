"""JSON of the REST API to arrays and back; texts of TF Serving's json_tensor.cc."""

import json
import math

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from serving.errors import ServingError
from serving.json_answers import to_body
from serving.json_bodies import parse_body, signature_name
from serving.json_tensors import to_arrays


def infos(**dtypes: tf.DType) -> dict[str, meta_graph_pb2.TensorInfo]:
    return {
        name: meta_graph_pb2.TensorInfo(dtype=dtype.as_datatype_enum)
        for name, dtype in dtypes.items()
    }


def arrays(text: str | bytes, **dtypes: tf.DType) -> dict[str, np.ndarray]:
    body = parse_body(text.encode() if isinstance(text, str) else text)
    signature_name(body)
    return to_arrays(body, infos(**dtypes))


def refusal(text: str | bytes, **dtypes: tf.DType) -> str:
    with pytest.raises(ServingError) as caught:
        arrays(text, **(dtypes or {"x": tf.float32}))
    assert caught.value.code.name == "INVALID_ARGUMENT"
    return caught.value.text


def test_rows_and_columns_are_the_same_request() -> None:
    two = {"x": tf.float32, "n": tf.int64}
    by_row = arrays('{"instances": [{"x": [1, 2.5], "n": 7}, {"n": -8, "x": [3, 4]}]}', **two)
    by_column = arrays('{"inputs": {"x": [[1, 2.5], [3, 4]], "n": [7, -8], "more": 1}}', **two)
    for found in (by_row, by_column):
        assert found["x"].dtype == np.float32 and found["x"].tolist() == [[1, 2.5], [3, 4]]
        assert found["n"].dtype == np.int64 and found["n"].tolist() == [7, -8]


def test_one_input_needs_no_name() -> None:
    assert arrays('{"instances": [1, 2]}', x=tf.float32)["x"].tolist() == [1, 2]
    assert arrays('{"instances": [{"x": 1}]}', x=tf.float32)["x"].tolist() == [1]
    assert arrays('{"inputs": [[1], [2]]}', x=tf.float32)["x"].shape == (2, 1)
    assert arrays('{"inputs": 3}', x=tf.int32)["x"].shape == ()
    assert arrays('{"inputs": []}', x=tf.int32)["x"].shape == (0,)
    assert arrays('{"instances": [[[], []]]}', x=tf.int32)["x"].shape == (1, 2, 0)


def test_strings_and_base64() -> None:
    text = '{"instances": ["grün", {"b64": "/w=="}]}'
    assert arrays(text, s=tf.string)["s"].tolist() == ["grün".encode(), b"\xff"]
    assert arrays('{"inputs": {"b64": "YQ=="}}', s=tf.string)["s"].tolist() == b"a"
    named = arrays('{"instances": [{"s": {"b64": "YQ=="}, "k": 1}]}', s=tf.string, k=tf.int32)
    assert named["s"].tolist() == [b"a"]


def test_what_json_has_not_but_tf_serving_takes() -> None:
    found = arrays('  {"instances": [NaN, Infinity, -Infinity]} trailing', x=tf.float32)["x"]
    assert math.isnan(found[0]) and found[1:].tolist() == [math.inf, -math.inf]
    assert signature_name(parse_body(b'{"signature_name": "s", "inputs": 1}')) == "s"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "JSON Parse error: The document is empty"),
        ("[1]", "JSON Value: [1] Is not object"),
        ("{}", "Missing 'inputs' or 'instances' key"),
        ('{"inputs": 1, "instances": [1]}', "only one of 'inputs' or 'instances' keys to exist "),
        ('{"instances": 1}', "Expecting 'instances' to be an list/array"),
        ('{"instances": []}', "No values in 'instances' array"),
        ('{"signature_name": 1, "inputs": 1}', "'signature_name' key must be a string value."),
        ('{"inputs": "a"}', 'JSON Value: "a" Type: String is not of expected type: float'),
        ('{"inputs": true}', "JSON Value: true Type: True is not of expected type: float"),
        ('{"inputs": [null]}', "JSON Value: null Type: Null is not of expected type: float"),
        ('{"inputs": [{"b64": "YQ=="}]}', "Type: Object is not of expected type: float"),
        ('{"inputs": [16777217]}', "16777217 to float without loss of precision."),
        ('{"inputs": [1e39]}', "Cannot convert JSON value: 1e+39 to float without loss"),
        ('{"inputs": [[1], [2, 3]]}', "unexpected size: 2 at level: 1 expected size: 1"),
        ('{"inputs": [[1], 2]}', "JSON Value: 2 found at incorrect level: 2 in the JSON DOM."),
        ('{"inputs": [1, [2]]}', "Encountered list at unexpected level: 1 expected < 1"),
        ('{"inputs": ' + "[" * 65 + "]" * 65 + "}", "nested 64 deep"),
        ('{"inputs": {"y": 1}}', "Missing named input: x in 'inputs' object."),
        ('{"instances": [[1], [2, 3]]}', "Expecting tensor size: 1 but got: 2"),
        ('{"instances": [[1], 2]}', "Expecting shape [1] but got: []"),
        ('{"instances": [1, {"x": 1}]}', "Expecting value/list but got object at item 1"),
        ('{"instances": [{"x": 1}, 1]}', "Expecting object but got list at item 1"),
        (
            '{"instances": [{"y": 1}]}',
            "Failed to process element: 0 key: y of 'instances' list. Error: INVALID_ARGUMENT: "
            "JSON object: does not have named input: y",
        ),
        ('{"instances": [{}]}', "JSON object: {} keys must be equal to: x"),
    ],
)
def test_refusals(text: str, expected: str) -> None:
    assert expected in refusal(text)


def test_refusals_by_dtype() -> None:
    assert "of expected type: int32" in refusal('{"inputs": [1.0]}', i=tf.int32)
    assert "of expected type: int32" in refusal('{"inputs": [2147483648]}', i=tf.int32)
    assert "of expected type: uint8" in refusal('{"inputs": [256]}', i=tf.uint8)
    assert "of expected type: int32" in refusal('{"inputs": [true]}', i=tf.int32)
    assert "of expected type: bool" in refusal('{"inputs": [1]}', b=tf.bool)
    assert "of expected type: string" in refusal('{"inputs": [1]}', s=tf.string)
    assert refusal('{"inputs": [{"b64": "a"}]}', s=tf.string) == "Unable to base64 decode"
    assert "for base64 data" in refusal('{"inputs": [{"b64": 1}]}', s=tf.string)
    assert "surrogate pair" in refusal('{"inputs": ["\\ud800"]}', s=tf.string)
    assert "instances is a plain list" in refusal('{"instances": [1]}', a=tf.int32, b=tf.int32)
    assert "inputs is a plain value/list" in refusal('{"inputs": [1]}', a=tf.int32, b=tf.int32)


def test_bombs_are_errors_of_a_bounded_length() -> None:
    deep = b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert refusal(deep) == "JSON Parse error: nested too deeply at offset: 0"
    for depth, text in ((60, "is not of expected type: float"), (900, "nested 64 deep")):
        assert text in refusal(b'{"inputs": ' + b"[" * depth + b'"a"' + b"]" * depth + b"}")
    digits = b'{"inputs": ' + b"9" * 100_000 + b"}"
    assert refusal(digits).startswith("JSON Parse error: Exceeds the limit")
    assert len(refusal(json.dumps({"instances": 7, "long": "y" * 100_000}))) < 400
    assert refusal(b"\xff") == "JSON Parse error: not UTF-8 at offset: 0"
    assert refusal('{"inputs": [1,]}').startswith("JSON Parse error: Expecting value at offset: 1")


def test_answers() -> None:
    x, n = np.float32([0.2, 9e6]), np.int64([1, 2])
    assert to_body({"x": x}, True) == b'{"predictions": [0.2, 9000000.0]}'
    assert to_body({"x": x}, False) == b'{"outputs": [0.2, 9000000.0]}'
    assert json.loads(to_body({"x": x, "n": n}, True)) == {
        "predictions": [{"n": 1, "x": 0.2}, {"n": 2, "x": 9e6}]
    }
    assert json.loads(to_body({"x": x, "n": n}, False)) == {
        "outputs": {"n": [1, 2], "x": [0.2, 9e6]}
    }
    strings = np.array([[b"\xff", "grün".encode()]], object)
    assert to_body({"s": strings}, False) == b'{"outputs": [["\xff", "gr\xc3\xbcn"]]}'
    assert json.loads(to_body({"s_bytes": strings[:, :1]}, True)) == {
        "predictions": [[{"b64": "/w=="}]]
    }
    assert to_body({"x": np.float64([np.nan, -np.inf])}, False) == b'{"outputs": [NaN, -Infinity]}'
    assert to_body({"x": np.float16([0.1])}, False).startswith(b'{"outputs": [0.0999')


def test_answers_that_are_no_rows() -> None:
    def refused(outputs):
        with pytest.raises(ServingError) as caught:
            to_body(outputs, True)
        return caught.value.text

    assert refused({"y": np.float32(1)}) == "Tensor name: y has no shape information "
    assert refused({"a": np.zeros(2), "b": np.zeros(3)}) == (
        "Tensor name: b has inconsistent batch size: 3 expecting: 2"
    )
