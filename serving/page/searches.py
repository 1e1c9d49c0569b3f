"""The loaded models that texts can be asked of, and texts to ask."""

from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from serving.models import LoadedModel
from serving.store import ModelStore
from serving.warmup import WARMUP_FILE

_SEARCH, _SIMILAR = "search", "similar"
_MAX_EXAMPLES = 8
_MAX_RECORDS = 100  # of a warm-up file that are looked at
_MAX_CHARS = 40


def searches(store: ModelStore) -> list[dict[str, Any]]:
    """Models with a signature `search`: `{query, k}` to `{product_id, score}`.

    Returns:
        `name`, `version`, `similar` (whether it has that signature too) and `examples`: texts of
        its warm-up requests.
    """
    latest = [store.loaded(name)[versions[-1]] for name, versions in store.names().items()]
    return [
        {
            "name": model.name,
            "version": model.version,
            "similar": _asks(model, _SIMILAR, "product_id"),
            "examples": _examples(model),
        }
        for model in latest
        if _asks(model, _SEARCH, "query")
    ]


def _asks(model: LoadedModel, name: str, subject: str) -> bool:
    signature = model.signature_defs.get(name)
    return (
        signature is not None
        and set(signature.inputs) == {subject, "k"}
        and {"product_id", "score"} <= set(signature.outputs)
    )


def _examples(model: LoadedModel) -> list[str]:
    path = model.folder / WARMUP_FILE
    if not path.is_file():
        return []
    found: dict[str, None] = {}  # an ordered set
    try:
        records = tf.data.TFRecordDataset(str(path)).take(_MAX_RECORDS).as_numpy_iterator()
        for record in records:
            request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
            for text in request.inputs["query"].string_val:
                found.setdefault(text.decode(errors="replace").strip())
    except (tf.errors.OpError, DecodeError):  # the replay of warm-up requests tells of it
        return []
    return [text for text in found if 0 < len(text) <= _MAX_CHARS][:_MAX_EXAMPLES]
