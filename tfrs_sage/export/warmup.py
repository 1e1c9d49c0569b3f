"""Warm-up requests: real rows that a server answers before it says that a version is ready.

TensorFlow sets kernels and buffers up when they are first used; without warm-up the first
clients wait for that. A server that finds a record failing does not take the version, so what is
written here is replayed before the version appears (`savedmodel.save_versions`).

References:
    TF Serving, `g3doc/saved_model_warmup.md`: the place, the format, at most 1,000 records.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from tfrs_sage.errors import InputError
from tfrs_sage.schema.features import IMAGE_DIM, IMAGES, MAX_IMAGES, EntitySpec
from tfrs_sage.towers.features import parse_records

WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
MAX_RECORDS = 1000  # TF Serving refuses more
BATCH_SIZES = (1, 8, 64)
NUM_ROWS = max(BATCH_SIZES)


class Request(NamedTuple):
    """One call: the signature, and its inputs by name."""

    signature: str
    inputs: Mapping[str, np.ndarray]


def at_batch_sizes(
    signature: str, rows: Mapping[str, np.ndarray], **scalars: np.ndarray
) -> list[Request]:
    """Requests of the first 1, 8 and 64 rows; fewer where there are fewer rows.

    Args:
        signature: whom to ask.
        rows: inputs whose first axis is the batch.
        scalars: inputs that are the same for every batch.
    """
    count = min(len(values) for values in rows.values())
    if count == 0:
        raise InputError(
            f"a warm-up of the signature {signature!r} must have at least one real row. "
            "Received: none."
        )
    return [
        Request(signature, {**{name: v[:size] for name, v in rows.items()}, **scalars})
        for size in sorted({min(size, count) for size in BATCH_SIZES})
    ]


def write_warmup(folder: Path, name: str, requests: Sequence[Request]) -> Path:
    """Writes `PredictionLog` records where TF Serving looks for them.

    Args:
        folder: the version's folder.
        name: the model's name, as in `model_spec`.
        requests: 1 to 1,000 of them.
    """
    if not 1 <= len(requests) <= MAX_RECORDS:
        raise InputError(
            f"a warm-up must have 1 to {MAX_RECORDS} requests, or TF Serving refuses the model. "
            f"Received: {len(requests)} for {name!r}."
        )
    path = folder / WARMUP_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = name
            request.model_spec.signature_name = signature
            for alias, values in inputs.items():
                request.inputs[alias].CopyFrom(tf.make_tensor_proto(values))
            log = prediction_log_pb2.PredictionLog(
                predict_log=prediction_log_pb2.PredictLog(request=request)
            )
            writer.write(log.SerializeToString())
    return path


def read_warmup(folder: Path) -> list[Request]:
    """The requests of a version's warm-up file; none where it has no such file.

    Raises:
        InputError: a record that is no Predict call.
    """
    path = Path(folder) / WARMUP_FILE
    requests = []
    for index, record in enumerate(tf.data.TFRecordDataset(str(path)) if path.is_file() else ()):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        if log.WhichOneof("log_type") != "predict_log":
            raise InputError(
                f"{path} must hold Predict calls alone. Found: {log.WhichOneof('log_type')!r} "
                f"at record {index}. Export the model again."
            )
        request = log.predict_log.request
        inputs = {alias: tf.make_ndarray(proto) for alias, proto in request.inputs.items()}
        requests.append(Request(request.model_spec.signature_name, inputs))
    return requests


def catalogue_records(run_dir: Path, entity: str) -> list[bytes]:
    """The first records of a run's catalogue, as many as the largest warm-up batch has."""
    files = sorted(str(path) for path in (run_dir / "catalogue").glob(f"{entity}-*.tfrecord"))
    return [record.numpy() for record in tf.data.TFRecordDataset(files).take(NUM_ROWS)]


def query_texts(records: Sequence[bytes]) -> np.ndarray:
    """The texts of query records, object `[n]` of bytes."""
    fields = {"text": tf.io.FixedLenFeature([], tf.string, "")}
    texts: np.ndarray = tf.io.parse_example(_strings(records), fields)["text"].numpy()
    return texts


def query_tower_requests(records: Sequence[bytes]) -> list[Request]:
    """Warm-up of a `query_tower` from records of the catalogue."""
    return [
        *at_batch_sizes("serving_default", {"query": query_texts(records)}),
        *at_batch_sizes("serving_tf_example", {"examples": _strings(records)}),
    ]


def entity_tower_requests(records: Sequence[bytes], spec: EntitySpec) -> list[Request]:
    """Warm-up of a `product_tower` or `pin_tower` from records of the catalogue.

    `serving_default` takes every feature of the schema: those that the data lacks are empty.
    """
    examples = _strings(records)
    raw = {name: values.numpy() for name, values in parse_records(examples, spec).items()}
    count = len(records)
    rows = {name: raw.get(name, _strings([b""] * count)) for name in spec.raw_texts}
    rows[IMAGES] = np.zeros([count, MAX_IMAGES, IMAGE_DIM], np.float32)
    rows["num_images"] = np.zeros(count, np.int32)
    if spec.max_images:
        rows[IMAGES][:, : raw[IMAGES].shape[1]] = raw[IMAGES]
        rows["num_images"] = raw["num_images"].astype(np.int32)
    rows |= {name: raw[name].astype(np.float32) for name in spec.vectors}
    return [
        *at_batch_sizes("serving_default", rows),
        *at_batch_sizes("serving_tf_example", {"examples": examples}),
    ]


def _strings(values: Sequence[bytes]) -> np.ndarray:
    """object `[n]`: NumPy's own bytes type would cut trailing zero bytes off."""
    array = np.empty(len(values), dtype=object)
    array[:] = list(values)
    return array
