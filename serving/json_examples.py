"""Bodies of TF Serving's REST classify and regress APIs to `tf.Example`s, results to bodies.

References:
    TF Serving, `util/json_tensor.cc`. The key of the answers is `results`, as in the code; the
    guide says `result`.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2, input_pb2, regression_pb2

from serving.errors import invalid_argument
from serving.json_answers import plain_values
from serving.json_bodies import is_object, kind, shown
from serving.json_tensors import as_bytes

_INT64 = (-(2**63), 2**63 - 1)
_UINT64_MAX = 2**64 - 1
_LISTS = {"bytes": "bytes_list", "float": "float_list", "int64": "int64_list"}


def to_examples(document: Mapping[str, Any]) -> input_pb2.Input:
    """The examples of a body, and the features that are common to them, if any.

    Raises:
        ServingError: INVALID_ARGUMENT, no `examples`, or features of several or of other kinds.
    """
    found = input_pb2.Input()
    has_context = "context" in document
    if has_context:
        context = found.example_list_with_context.context
        context.CopyFrom(_example(document["context"]))
    if "examples" not in document:
        raise invalid_argument(
            f"JSON Value: {shown(document)} When method is classify, key 'examples' is expected "
            "and was not found"
        )
    listed = document["examples"]
    if not isinstance(listed, list):
        raise invalid_argument(
            f"JSON Value: {shown(document)} Expecting 'examples' value to be an list/array"
        )
    if not listed:
        raise invalid_argument(f"JSON Value: {shown(document)} 'examples' value is an empty array")
    place = found.example_list_with_context if has_context else found.example_list
    place.examples.extend(_example(one) for one in listed)
    return found


def classified(result: classification_pb2.ClassificationResult) -> bytes:
    """`results` with a list of `[label, score]` for each example."""
    scores = [[one.score for one in row.classes] for row in result.classifications]
    rows = zip(result.classifications, plain_values(np.array(scores, np.float32)), strict=True)
    return _body(
        [
            [[one.label, score] for one, score in zip(row.classes, values, strict=True)]
            for row, values in rows
        ]
    )


def regressed(result: regression_pb2.RegressionResult) -> bytes:
    """`results` with a number for each example."""
    return _body(plain_values(np.array([one.value for one in result.regressions], np.float32)))


def _body(results: list[Any]) -> bytes:
    return json.dumps({"results": results}, ensure_ascii=False).encode()


def _example(value: Any) -> tf.train.Example:
    if not isinstance(value, dict):
        raise invalid_argument(f"Example must be JSON object but got JSON {kind(value)}")
    example = tf.train.Example()
    for name, content in value.items():
        example.features.feature[name].CopyFrom(
            _feature(name, content if isinstance(content, list) else [content])
        )
    return example


def _feature(name: str, values: list[Any]) -> tf.train.Feature:
    feature = tf.train.Feature()
    expected = ""
    for value in values:
        found, plain = _element(name, value)
        if expected and found != expected:
            raise invalid_argument(
                f"Unexpected element type in feature: {name} expecting type: {expected}"
            )
        expected = found
        getattr(feature, _LISTS[found]).value.append(plain)
    return feature


def _element(name: str, value: Any) -> tuple[str, Any]:
    """The kind of list that a value belongs to, and the value as that list has it."""
    if isinstance(value, bool):
        return "int64", int(value)
    if isinstance(value, int) and _INT64[0] <= value <= _INT64[1]:
        return "int64", value
    if isinstance(value, int) and 0 <= value <= _UINT64_MAX:
        raise invalid_argument(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
    if isinstance(value, int | float):
        with np.errstate(over="ignore"):
            return "float", float(np.float32(value))
    if isinstance(value, str) or (isinstance(value, dict) and not is_object(value)):
        return "bytes", as_bytes(value)
    raise invalid_argument(f"Feature: {name} has element with unexpected JSON type: {kind(value)}")
