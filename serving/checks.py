"""What a predict request must be for its signature, in TF Serving's words."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_shape_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from serving.errors import ServingError, invalid_argument
from serving.models import LoadedModel, Run
from serving.tensors import from_proto


def checked_inputs(signature: meta_graph_pb2.SignatureDef, inputs: Any) -> dict[str, np.ndarray]:
    """The request's arrays, of the names, dtypes and shapes that the signature asks for.

    Raises:
        ServingError: INVALID_ARGUMENT otherwise.
    """
    sent, required = sorted(inputs), sorted(signature.inputs)
    if sent != required:
        raise _names_error(signature, sent, required)
    arrays = {}
    for alias in sent:
        info, proto = signature.inputs[alias], inputs[alias]
        if proto.dtype != info.dtype:
            raise invalid_argument(
                f"input {alias} must be of type {tf.dtypes.as_dtype(info.dtype).name}. "
                f"Received: {_dtype_name(proto.dtype)}."
            )
        arrays[alias] = from_proto(alias, proto)
    check_shapes(signature, arrays)
    return arrays


def _names_error(
    signature: meta_graph_pb2.SignatureDef, sent: list[str], required: list[str]
) -> ServingError:
    extra = [alias for alias in sent if alias not in required]
    missing = [alias for alias in required if alias not in sent]
    if len(sent) != len(required):
        return invalid_argument(
            f"input size does not match signature: {len(sent)}!={len(required)} "
            f"len({{{','.join(sent)}}}) != len({{{','.join(required)}}}). "
            f"Sent extra: {{{','.join(extra)}}}. Missing but required: {{{','.join(missing)}}}."
        )
    return invalid_argument(
        f"Signature input alias: {missing[0]}(feed name: {signature.inputs[missing[0]].name}) not "
        "found in request and no default value provided. Inputs expected to be in the request "
        f"{{{','.join(sent)}}}, or default input alias set: "
    )


def check_shapes(signature: meta_graph_pb2.SignatureDef, arrays: Mapping[str, np.ndarray]) -> None:
    """Whether arrays are of the shapes that the signature asks for.

    Raises:
        ServingError: INVALID_ARGUMENT otherwise.
    """
    for alias, array in arrays.items():
        shape = signature.inputs[alias].tensor_shape
        if not _fits(array.shape, shape):
            raise invalid_argument(
                f"input {alias} must have the shape {tf.TensorShape(shape)}. Received: "
                f"{tf.TensorShape(array.shape)}."
            )


def bounded(run: Run, max_rows: int) -> Run:
    """`run` for requests whose inputs have at most so many rows each (their first dimension)."""

    def bounded_run(
        model: LoadedModel, signature: str, inputs: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        for alias, array in inputs.items():
            if array.ndim and len(array) > max_rows:
                raise invalid_argument(
                    f"A request may have {max_rows} rows. Received: {len(array)} in input {alias}. "
                    "Send fewer at a time."
                )
        return run(model, signature, inputs)

    return bounded_run


def _fits(shape: tuple[int, ...], wanted: tensor_shape_pb2.TensorShapeProto) -> bool:
    """As `tf.TensorShape.is_compatible_with`, which is slower."""
    return wanted.unknown_rank or (
        len(shape) == len(wanted.dim)
        and all(dim.size in (-1, size) for size, dim in zip(shape, wanted.dim, strict=True))
    )


def _dtype_name(value: int) -> str:
    """Name of a dtype that came over the wire, where it may be any number."""
    try:
        return str(tf.dtypes.as_dtype(value).name)
    except TypeError:
        return f"DataType({value})"


def checked_filter(
    signature: meta_graph_pb2.SignatureDef, output_filter: Iterable[str]
) -> list[str]:
    """The outputs to send: those asked for, or all.

    Raises:
        ServingError: INVALID_ARGUMENT, an unknown or a repeated name.
    """
    wanted: list[str] = []
    for alias in output_filter:
        if alias not in signature.outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {alias} Outputs expected to be "
                f"in the set {{{','.join(sorted(signature.outputs))}}}."
            )
        if alias in wanted:
            raise invalid_argument(f"duplicate output tensor alias: {alias}")
        wanted.append(alias)
    return wanted or sorted(signature.outputs)
