"""Warm-up requests of a version, replayed before it answers its first client.

References:
    TF Serving, `g3doc/saved_model_warmup.md`: the place, the format, at most 1,000 records; a
    record that fails fails the version.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from serving.checks import checked_inputs
from serving.errors import ServingError, from_tensorflow, invalid_argument
from serving.inference import classify, multi_inference, regress
from serving.models import LoadedModel, Run

WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
MAX_RECORDS = 1000
_INFER: dict[str, Callable[[LoadedModel, Run, Any], object]] = {
    "classify_log": classify,
    "regress_log": regress,
    "multi_inference_log": multi_inference,
}


def replay(model: LoadedModel) -> int:
    """Runs the requests of a version's warm-up file; how many. A version without one has none.

    Raises:
        ServingError: a record that is broken, that the model refuses, or one too many;
            UNIMPLEMENTED, of a call that is not replayed (SessionRun, PredictStreamed).
    """
    path = model.folder / WARMUP_FILE
    if not path.is_file():
        return 0
    count = 0
    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            count += 1
            if count > MAX_RECORDS:
                raise invalid_argument(
                    f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {path}"
                )
            _replay_one(model, record)
    except tf.errors.OpError as e:
        raise from_tensorflow(e) from e
    return count


def _replay_one(model: LoadedModel, record: bytes) -> None:
    try:
        log = prediction_log_pb2.PredictionLog.FromString(record)
    except DecodeError as e:
        raise ServingError(
            grpc.StatusCode.DATA_LOSS, "Failed to parse warmup record: not a PredictionLog"
        ) from e
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        request = log.predict_log.request
        name = request.model_spec.signature_name
        model.run(name, checked_inputs(model.signature_def(name), request.inputs))
    elif kind in _INFER:
        _INFER[kind](model, LoadedModel.run, getattr(log, kind).request)
    else:
        raise ServingError(
            grpc.StatusCode.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}"
        )
