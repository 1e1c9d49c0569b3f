"""Classify, Regress and MultiInference: `tf.Example`s in, classes and numbers out.

References:
    TF Serving, `servables/tensorflow/classifier.cc`, `regressor.cc`, `multi_inference.cc` and
    `util.cc`: what is checked, in which order and in which words. Unlike it, MultiInference runs
    its signatures one after the other, which gives the same results.
"""

from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    input_pb2,
    model_pb2,
    regression_pb2,
)

from serving.checks import check_shapes
from serving.errors import ServingError, invalid_argument
from serving.models import DEFAULT_SIGNATURE, LoadedModel, Run
from serving.results import CLASSES, OUTPUTS, SCORES, classes, numbers

INPUTS = "inputs"
CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"


def effective_spec(model: LoadedModel, signature_name: str = "") -> model_pb2.ModelSpec:
    """The spec of the model that answered, which may say more than the one that asked."""
    spec = model_pb2.ModelSpec(name=model.name, signature_name=signature_name)
    spec.version.value = model.version
    return spec


def classify(
    model: LoadedModel, run: Run, request: classification_pb2.ClassificationRequest
) -> classification_pb2.ClassificationResponse:
    """Labels, scores or both for each example.

    Raises:
        ServingError: INVALID_ARGUMENT, no examples, or not a signature that classifies.
    """
    name, signature = _named(model, request.model_spec, "No signature was found with the name: ")
    _check_classifies(signature)
    return classification_pb2.ClassificationResponse(
        model_spec=effective_spec(model, name),
        result=classes(*_outputs(model, run, name, signature, request.input)),
    )


def regress(
    model: LoadedModel, run: Run, request: regression_pb2.RegressionRequest
) -> regression_pb2.RegressionResponse:
    """A number for each example.

    Raises:
        ServingError: INVALID_ARGUMENT, no examples, or not a signature that regresses.
    """
    name, signature = _named(model, request.model_spec, "No signature was found with the name: ")
    _check_regresses(signature)
    return regression_pb2.RegressionResponse(
        model_spec=effective_spec(model, name),
        result=numbers(*_outputs(model, run, name, signature, request.input)),
    )


def multi_inference(
    model: LoadedModel, run: Run, request: inference_pb2.MultiInferenceRequest
) -> inference_pb2.MultiInferenceResponse:
    """Several signatures of one model for the same examples, in the order of the tasks.

    Raises:
        ServingError: INVALID_ARGUMENT, tasks for several models or twice the same signature;
            UNIMPLEMENTED, a method that neither classifies nor regresses.
    """
    seen: dict[str, meta_graph_pb2.SignatureDef] = {}
    for task in request.tasks:
        if not task.model_spec.name:
            raise invalid_argument("Found ModelSpec with an empty model name.")
        if task.model_spec.name != request.tasks[0].model_spec.name:
            raise invalid_argument(
                "All ModelSpecs in a MultiInferenceRequest must access the same model name."
            )
        if (name := task.model_spec.signature_name or DEFAULT_SIGNATURE) in seen:
            raise invalid_argument(f"Duplicate evaluation of signature: {name}")
        wrong = "Requested signature not found in model graph: "
        _, seen[name] = _named(model, task.model_spec, wrong)
        _method(task.method_name)[0](seen[name])
    response = inference_pb2.MultiInferenceResponse()
    for task, (name, signature) in zip(request.tasks, seen.items(), strict=True):
        result = _method(task.method_name)[1](*_outputs(model, run, name, signature, request.input))
        added = response.results.add(model_spec=effective_spec(model, name))
        is_classes = isinstance(result, classification_pb2.ClassificationResult)
        place = added.classification_result if is_classes else added.regression_result
        place.CopyFrom(result)
    return response


def num_examples(examples: input_pb2.Input) -> int:
    """Examples of a request."""
    return len(examples.example_list.examples) or len(examples.example_list_with_context.examples)


def _method(name: str) -> tuple[Callable[[meta_graph_pb2.SignatureDef], None], Callable[..., Any]]:
    if name == CLASSIFY_METHOD:
        return _check_classifies, classes
    if name == REGRESS_METHOD:
        return _check_regresses, numbers
    text = f"Unsupported signature method_name: {name}"
    raise ServingError(grpc.StatusCode.UNIMPLEMENTED, text)


def _named(
    model: LoadedModel, spec: model_pb2.ModelSpec, wrong: str
) -> tuple[str, meta_graph_pb2.SignatureDef]:
    name = spec.signature_name or DEFAULT_SIGNATURE
    if name not in model.signature_defs:
        raise invalid_argument(f"{wrong}{name}")
    return name, model.signature_def(name)


def _check_classifies(signature: meta_graph_pb2.SignatureDef) -> None:
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise invalid_argument(
            f"Expected one or two output Tensors, found {len(signature.outputs)}"
        )
    if INPUTS not in signature.inputs:
        raise invalid_argument(f"No classification inputs found in SignatureDef: {signature}")
    if not {CLASSES, SCORES} & set(signature.outputs):
        raise invalid_argument(
            "Expected classification signature outputs to contain at least one of "
            f'"{CLASSES}" or "{SCORES}". Signature was: {signature}'
        )


def _check_regresses(signature: meta_graph_pb2.SignatureDef) -> None:
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise invalid_argument("Expected one output Tensor.")
    if INPUTS not in signature.inputs:
        raise invalid_argument(f"No regression inputs found in SignatureDef: {signature}")
    if OUTPUTS not in signature.outputs:
        raise invalid_argument(f"No regression outputs found in SignatureDef: {signature}")


def _outputs(
    model: LoadedModel,
    run: Run,
    name: str,
    signature: meta_graph_pb2.SignatureDef,
    examples: input_pb2.Input,
) -> tuple[int, dict[str, np.ndarray]]:
    """How many examples there are, and what the model says of them."""
    context = examples.example_list_with_context.context.SerializeToString()
    listed = examples.example_list.examples or examples.example_list_with_context.examples
    if not listed:
        raise invalid_argument("Input is empty.")
    if signature.inputs[INPUTS].dtype != tf.string.as_datatype_enum:
        dtype = tf.dtypes.as_dtype(signature.inputs[INPUTS].dtype).name
        raise invalid_argument(f"input {INPUTS} must be of type {dtype}. Received: string.")
    # Two serialized messages, one after the other, are the serialized union of both.
    array = np.array([context + one.SerializeToString() for one in listed], object)
    check_shapes(signature, {INPUTS: array})
    return len(array), run(model, name, {INPUTS: array})
