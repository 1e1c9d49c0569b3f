"""Runs a SavedModel's signature over serialized records within Beam's RunInference."""

import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.ml.inference.base import ModelHandler
from numpy.typing import NDArray

logger = logging.getLogger(__name__)
SIGNATURE = "serving_tf_example"
INPUT = "examples"
OUTPUT = "embedding"
SECONDS_BETWEEN_LINES = 20.0


class Progress:
    """Tells now and then how many records this process has embedded."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._began = self._told = time.monotonic()

    def add(self, count: int) -> None:
        """Counts records that are done."""
        now = time.monotonic()
        with self._lock:
            self._count += count
            if now - self._told >= SECONDS_BETWEEN_LINES:
                self._told = now
                rate = self._count / (now - self._began)
                logger.info("embedded %d records, %.0f a second", self._count, rate)


class SavedModelHandler(ModelHandler[bytes, NDArray[np.float32], Any]):
    """Embeds serialized `tf.train.Example` records with an exported tower.

    Beam's own TensorFlow handler loads models with Keras, which SavedModels of Keras 3
    refuse; this one calls a signature. RunInference loads the model once a process and
    batches the records; wrap it in `KeyedModelHandler` to carry the ids around the model.

    Args:
        model_dir: the version folder of a SavedModel.
        signature: takes `examples` string `[n]`, gives `embedding` float32 `[n, d]`.
        max_batch_size: most records a call.
    """

    def __init__(
        self, model_dir: str, signature: str = SIGNATURE, *, max_batch_size: int = 256
    ) -> None:
        super().__init__(min_batch_size=1, max_batch_size=max_batch_size)
        self._model_dir = model_dir
        self._signature = signature

    def load_model(self) -> Any:
        """The signature of the loaded model.

        Raises:
            ValueError: the model has no such signature.
        """
        import tensorflow as tf
        import tensorflow_text  # noqa: F401  (registers the ops of text towers)

        model = tf.saved_model.load(self._model_dir)
        if self._signature not in model.signatures:
            raise ValueError(
                f"{self._model_dir} must have the signature {self._signature!r}. "
                f"Found: {sorted(model.signatures)}. Export the tower again."
            )
        function = model.signatures[self._signature]
        # The function holds its variables weakly: the model must live as long as it.
        function.loaded_model = model
        function.progress = Progress()
        return function

    def run_inference(
        self,
        batch: Sequence[bytes],
        model: Any,
        inference_args: Mapping[str, Any] | None = None,
    ) -> Iterable[NDArray[np.float32]]:
        """One float32 `[d]` embedding a record, in their order."""
        import tensorflow as tf

        answer: NDArray[np.float32] = model(**{INPUT: tf.constant(list(batch))})[OUTPUT].numpy()
        model.progress.add(len(answer))
        return list(answer)

    def get_num_bytes(self, batch: Sequence[bytes]) -> int:
        return sum(len(record) for record in batch)

    def get_metrics_namespace(self) -> str:
        return "SavedModel"


class KeyByRecordId(beam.DoFn):
    """Serialized record -> (its `id`, the record)."""

    def process(self, record: bytes) -> Iterable[tuple[str, bytes]]:
        import tensorflow as tf

        values = tf.train.Example.FromString(record).features.feature["id"].bytes_list.value
        if len(values) != 1 or not values[0]:
            raise ValueError(
                f"a record must have one non-empty `id`. Found: {list(values)!r}. "
                "Run the preprocessing again."
            )
        yield values[0].decode(), record
