"""How requests are joined into batches: TF Serving's batching parameters and their defaults."""

import os
from dataclasses import dataclass
from pathlib import Path

from serving.tfserving.parameters import batching_message, batching_problems
from tfrs_sage.errors import InputError

BATCHING_FILE = "batching_params.pbtxt"  # in the folder of a version


@dataclass(frozen=True)
class BatchingOptions:
    """Sizes are rows, one text being a row.

    Attributes:
        max_batch_size: rows of a request at most, and of a batch where nothing else bounds it.
        batch_timeout_micros: how long the first request of a batch waits for others; 0 for no
            longer than until one of the `num_batch_threads` is free.
        max_enqueued_batches: batches of one signature that wait at most; further requests are
            refused.
        num_batch_threads: batches that compute at a time, over all models.
        allowed_batch_sizes: a batch is filled up to the next of them; any size where empty.
        pad_variable_length_inputs: requests of other lengths join too, the shorter ones filled up
            with their own first value; else each shape has batches of its own.
        enable_large_batch_splitting: a request may be spread over several batches.
        max_execution_batch_size: rows of a batch at most; `max_batch_size` where None.

    References:
        TF Serving, `session_bundle_config.proto` and `g3doc/saved_model_config.md`.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = os.cpu_count() or 1
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int | None = None

    @property
    def limit(self) -> int:
        """Rows of a batch at most."""
        return self.max_execution_batch_size or self.max_batch_size

    def filled(self, size: int) -> int:
        """Rows with which a batch of `size` rows is run."""
        return next((one for one in self.allowed_batch_sizes if one >= size), size)


def read_batching(path: Path) -> BatchingOptions:
    """The options in a text proto of TF Serving's type BatchingParameters.

    Raises:
        InputError: no such file, or values that TF Serving or this server would not take.
    """
    if problems := list(batching_problems(path)):
        raise InputError(" ".join(problems))
    message = batching_message(path)
    given = {
        field.name: getattr(value, "value", value)
        for field, value in message.ListFields()
        if field.name not in ("thread_pool_name", "allowed_batch_sizes")
    }
    return BatchingOptions(**given, allowed_batch_sizes=tuple(message.allowed_batch_sizes))
