"""What models say of examples, as results of Classify and Regress.

References:
    TF Serving, `PostProcessClassificationResult` of `servables/tensorflow/classifier.cc` and
    `PostProcessRegressionResult` of `regressor.cc`.
"""

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2, regression_pb2

from serving.errors import invalid_argument

CLASSES, SCORES, OUTPUTS = "classes", "scores", "outputs"


def classes(count: int, outputs: dict[str, np.ndarray]) -> classification_pb2.ClassificationResult:
    """Labels and scores, `[count, c]` each, one of which may be absent.

    Raises:
        ServingError: INVALID_ARGUMENT, other shapes or dtypes (string, float32).
    """
    labels, scores = outputs.get(CLASSES), outputs.get(SCORES)
    for name, array, dtype in ((CLASSES, labels, tf.string), (SCORES, scores, tf.float32)):
        if array is not None:
            _check_output(name, array, dtype, count)
    if labels is not None and scores is not None and labels.shape[1] != scores.shape[1]:
        raise invalid_argument(
            "Tensors class and score should match in dim_size(1). Got "
            f"{labels.shape[1]} vs. {scores.shape[1]}"
        )
    width = next(array.shape[1] for array in (labels, scores) if array is not None)
    result = classification_pb2.ClassificationResult()
    for row in range(count):
        found = result.classifications.add().classes
        for column in range(width):
            one = found.add()
            if labels is not None:
                # TF Serving sends labels that are no UTF-8, which no proto3 client can read.
                one.label = labels[row, column].decode("utf-8", "replace")
            if scores is not None:
                one.score = scores[row, column]
    return result


def _check_output(name: str, array: np.ndarray, dtype: tf.DType, count: int) -> None:
    if array.ndim != 2:
        raise invalid_argument(
            f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}"
        )
    if _dtype(array) != dtype:
        raise invalid_argument(
            f"Expected {name} Tensor of {_enum_name(dtype)}. Got: {_enum_name(_dtype(array))}"
        )
    if len(array) != count:
        raise invalid_argument(f"Expected {name} output batch size of {count}. Got: {len(array)}")


def numbers(count: int, outputs: dict[str, np.ndarray]) -> regression_pb2.RegressionResult:
    """Numbers, float32 `[count]` or `[count, 1]`.

    Raises:
        ServingError: INVALID_ARGUMENT, another shape or dtype.
    """
    array = outputs[OUTPUTS]
    if array.ndim != 1 and not (array.ndim == 2 and array.shape[1] == 1):
        raise invalid_argument(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            f"{_shape(array)}"
        )
    if len(array) != count:
        raise invalid_argument(
            f"Input batch size did not match output batch size: {count} vs. {len(array)}"
        )
    if array.dtype != np.float32:
        raise invalid_argument(
            f"Expected output Tensor of DT_FLOAT.  Got: {_enum_name(_dtype(array))}"
        )
    result = regression_pb2.RegressionResult()
    for value in array.ravel():
        result.regressions.add(value=value)
    return result


def _dtype(array: np.ndarray) -> tf.DType:
    return tf.string if array.dtype.kind in "OSU" else tf.dtypes.as_dtype(array.dtype)


def _enum_name(dtype: tf.DType) -> str:
    return f"DT_{'FLOAT' if dtype == tf.float32 else dtype.name.upper()}"


def _shape(array: np.ndarray) -> str:
    return f"[{','.join(map(str, array.shape))}]"
