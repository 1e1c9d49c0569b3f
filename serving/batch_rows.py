"""Which signatures can be run for several requests at once, and how their arrays are joined."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from serving.errors import ServingError, invalid_argument

Arrays = dict[str, np.ndarray]
Group = tuple[object, ...]


class Rows(NamedTuple):
    """The inputs of a signature that can be batched.

    Attributes:
        by_row: inputs whose first axis is the batch.
        shared: inputs without axes, such as `k`: equal for all requests of a batch.
    """

    by_row: tuple[str, ...]
    shared: tuple[str, ...]


def rows_of(signature: meta_graph_pb2.SignatureDef) -> Rows | None:
    """How a signature is batched; None where its shapes do not say that rows stand for themselves.

    Every output, and every input that has axes, must have a first axis of no fixed size.
    """
    inputs = {name: tf.TensorShape(info.tensor_shape) for name, info in signature.inputs.items()}
    outputs = [tf.TensorShape(info.tensor_shape) for info in signature.outputs.values()]
    shared = tuple(sorted(name for name, shape in inputs.items() if shape.rank == 0))
    by_row = tuple(sorted(set(inputs) - set(shared)))
    free = [*(inputs[name] for name in by_row), *outputs]
    if not by_row or not all(shape.rank and shape[0] is None for shape in free):
        return None
    return Rows(by_row, shared)


def num_rows(rows: Rows, inputs: Mapping[str, np.ndarray]) -> int:
    """Rows of a request.

    Raises:
        ServingError: INVALID_ARGUMENT, inputs that differ in it.
    """
    sizes = {inputs[name].shape[0] for name in rows.by_row}
    if len(sizes) > 1:
        raise invalid_argument(
            "Batching session Run() input tensors must have equal 0th-dimension size"
        )
    return int(sizes.pop())


def group_of(rows: Rows, inputs: Mapping[str, np.ndarray], padding: bool) -> Group:
    """What requests must have in common to share a batch.

    Args:
        rows: of the signature.
        inputs: of one request.
        padding: inputs of other lengths are filled up, so that shapes may differ.
    """
    values = tuple(inputs[name].tobytes() for name in rows.shared if inputs[name].dtype != object)
    texts = tuple(inputs[name].item() for name in rows.shared if inputs[name].dtype == object)
    shapes = () if padding else tuple(inputs[name].shape[1:] for name in rows.by_row)
    return (values, texts, shapes)


def joined(rows: Rows, requests: Sequence[Mapping[str, np.ndarray]], size: int) -> Arrays:
    """The inputs of a batch.

    Args:
        rows: of the signature.
        requests: of one group, at least one.
        size: rows of the batch; it is filled up with the last request's first row, which the
            model takes since it takes the request.

    Raises:
        ServingError: INVALID_ARGUMENT, an empty input beside others that it cannot be filled to.
    """
    arrays = {name: requests[0][name] for name in rows.shared}
    for name in rows.by_row:
        parts = [request[name] for request in requests]
        longest = np.max([part.shape[1:] for part in parts], axis=0).astype(int)
        parts = [_padded(part, tuple(longest)) for part in parts]
        missing = size - sum(len(part) for part in parts)
        parts.append(np.repeat(parts[-1][:1], missing, axis=0))
        arrays[name] = np.concatenate(parts)
    return arrays


def split(outputs: Mapping[str, np.ndarray], sizes: Sequence[int], size: int) -> list[Arrays]:
    """The outputs of each request of a batch.

    Args:
        outputs: of the batch.
        sizes: rows of each request.
        size: rows of the batch.

    Raises:
        ServingError: FAILED_PRECONDITION, an output of another number of rows.
    """
    if any(values.shape[:1] != (size,) for values in outputs.values()):
        raise ServingError(
            grpc.StatusCode.FAILED_PRECONDITION,
            "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension "
            "sizes of the input tensors",
        )
    ends = np.cumsum(sizes)
    return [
        {name: values[end - rows : end] for name, values in outputs.items()}
        for rows, end in zip(sizes, ends, strict=True)
    ]


def _padded(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Rows of the given shape: filled up at the ends with the array's first value."""
    if array.shape[1:] == shape:
        return array
    if not array.size:
        raise invalid_argument("Got empty tensor in batch of non-empty tensors.")
    padded = np.full((len(array), *shape), array.flat[0], array.dtype)
    padded[tuple(slice(length) for length in array.shape)] = array
    return padded
