"""Joins requests that come at the same time into one run of the model.

The request that opens a batch leads it: it waits for others for as long as the options say and
until it may compute, runs the model for all, and hands out the answers. So a request that is alone
changes threads nowhere, and the more there are, the larger the batches become by themselves.

References:
    TF Serving, `batching/batching_session.cc` and TensorFlow's `shared_batch_scheduler.h`: bounds,
    filling up, and words of errors. Unlike them, inputs without axes (`k`) are batched by their
    value, inputs of other shapes have batches of their own, and where a batch fails each of its
    requests is run alone, so that nobody fails for a neighbour's sake.
"""

import threading
import weakref
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import grpc
import numpy as np

from serving.batch_rows import Arrays, Group, Rows, group_of, joined, num_rows, split
from serving.batching_options import BATCHING_FILE, BatchingOptions, read_batching
from serving.errors import ServingError, invalid_argument
from serving.models import LoadedModel, Run
from tfrs_sage.errors import InputError

_FULL = "The batch scheduling queue to which this task was submitted is full; "


class _Part(NamedTuple):
    """Rows of one request, and the promise of their outputs."""

    inputs: Mapping[str, np.ndarray]
    size: int
    answer: "Future[Arrays]"


@dataclass(eq=False)
class _Batch:
    """Parts that will run together."""

    group: Group
    parts: list[_Part] = field(default_factory=list)
    size: int = 0
    full: threading.Event = field(default_factory=threading.Event)


@dataclass
class _Queue:
    """The batches of one signature of one version that have not begun."""

    options: BatchingOptions
    rows: Rows
    waiting: int = 0
    open: dict[Group, _Batch] = field(default_factory=dict)  # those that take more


class Batcher:
    """Runs models for several requests at once; a `Run`, for all threads.

    Args:
        options: of all models; with `per_model` only `num_batch_threads` of them.
        per_model: sizes come from the file `batching_params.pbtxt` of each version, and versions
            without one are not batched.
        run: what runs a batch.
    """

    def __init__(
        self, options: BatchingOptions, *, per_model: bool = False, run: Run = LoadedModel.run
    ) -> None:
        self._options, self._per_model, self._run = options, per_model, run
        self._lock = threading.Lock()
        self._turns = threading.Semaphore(options.num_batch_threads)
        # By version, for as long as it is loaded, and signature, where it can be batched.
        self._queues: weakref.WeakKeyDictionary[LoadedModel, dict[str, _Queue]]
        self._queues = weakref.WeakKeyDictionary()
        self._counts = dict.fromkeys(("batches", "requests", "rows", "filled", "refused"), 0)

    def admit(self, model: LoadedModel) -> None:
        """Reads a version's own options, so that wrong ones keep it from being served.

        Raises:
            InputError: its `batching_params.pbtxt` is wrong.
        """
        options = self._options_of(model)
        plans = {} if options is None else {n: model.rows(n) for n in model.signature_defs}
        with self._lock:
            self._queues[model] = {
                name: _Queue(options or self._options, rows)
                for name, rows in plans.items()
                if rows is not None
            }

    def __call__(
        self, model: LoadedModel, signature: str, inputs: Mapping[str, np.ndarray]
    ) -> Arrays:
        """As `LoadedModel.run`.

        Raises:
            ServingError: as there; INVALID_ARGUMENT, more rows than a request may have;
                UNAVAILABLE, as many batches wait as may.
        """
        if model not in self._queues:
            self.admit(model)
        queue = self._queues[model].get(signature)
        size = 0 if queue is None else num_rows(queue.rows, inputs)
        if queue is None or not size:
            return self._run(model, signature, inputs)
        parts, led = self._enqueue(queue, inputs, size)
        for batch in led:
            self._lead(model, signature, queue, batch)
        answers = [part.answer.result() for part in parts]
        if len(answers) == 1:
            return answers[0]
        return {name: np.concatenate([one[name] for one in answers]) for name in answers[0]}

    def counts(self) -> dict[str, int]:
        """Since the start: `batches`, and the `requests` (a part of a split one counts as one) and
        `rows` in them; rows `filled` up to allowed sizes; requests `refused` for want of room.
        """
        with self._lock:
            return dict(self._counts)

    def _options_of(self, model: LoadedModel) -> BatchingOptions | None:
        path: Path = model.folder / BATCHING_FILE
        if not self._per_model:
            return self._options
        return read_batching(path) if path.is_file() else None

    def _enqueue(
        self, queue: _Queue, inputs: Mapping[str, np.ndarray], size: int
    ) -> tuple[list[_Part], list[_Batch]]:
        """Puts a request's rows into batches; its parts, and the batches that it opened."""
        options = queue.options
        if size > options.max_batch_size:
            raise invalid_argument(
                f"Task size {size} is larger than maximum input batch size {options.max_batch_size}"
            )
        group = group_of(queue.rows, inputs, options.pad_variable_length_inputs)
        parts, led = [], []
        with self._lock:
            start = 0
            for rows in self._cuts(queue, group, size):
                piece = inputs if rows == size else _slice(queue.rows, inputs, start, rows)
                start += rows
                batch = queue.open.get(group)
                if batch is None or batch.size + rows > options.limit:
                    if batch is not None:
                        batch.full.set()
                    batch = queue.open[group] = _Batch(group)
                    queue.waiting += 1
                    led.append(batch)
                parts.append(_Part(piece, rows, Future()))
                batch.parts.append(parts[-1])
                batch.size += rows
                if batch.size >= options.limit:
                    del queue.open[group]
                    batch.full.set()
        return parts, led

    def _cuts(self, queue: _Queue, group: Group, size: int) -> list[int]:
        """Into how many rows a request is cut; the first of them fill the open batch.

        Raises:
            ServingError: UNAVAILABLE, there is no room for them.
        """
        options, batch = queue.options, queue.open.get(group)
        taken = options.limit if batch is None else batch.size
        more = options.max_enqueued_batches - queue.waiting
        room = options.limit - taken
        if not options.enable_large_batch_splitting:
            if size > room and more <= 0:
                raise self._refusal(
                    f"currently {queue.waiting} batches enqueued and max_enqueued_batches is "
                    f"{options.max_enqueued_batches}"
                )
            return [size]
        capacity = room + max(0, more) * options.limit
        if size > capacity:
            raise self._refusal(
                f"task size is {size} but scheduling capacity is only {capacity} "
                f"(num_enqueued_batches={queue.waiting}, "
                f"max_enqueued_batches={options.max_enqueued_batches}, open_batch_size="
                f"{batch.size if batch else 0}, max_execution_batch_size={options.limit})"
            )
        first = [min(room, size)] if room else []
        left = size - sum(first)
        whole, rest = divmod(left, options.limit)
        return first + [options.limit] * whole + ([rest] if rest else [])

    def _refusal(self, why: str) -> ServingError:
        self._counts["refused"] += 1
        return ServingError(grpc.StatusCode.UNAVAILABLE, _FULL + why)

    def _lead(self, model: LoadedModel, signature: str, queue: _Queue, batch: _Batch) -> None:
        """Runs a batch when it is full or has waited, and its turn has come."""
        if queue.options.batch_timeout_micros:
            batch.full.wait(queue.options.batch_timeout_micros / 1e6)
        with self._turns:
            with self._lock:
                queue.waiting -= 1
                if queue.open.get(batch.group) is batch:
                    del queue.open[batch.group]
                size = queue.options.filled(batch.size)
                self._counts["batches"] += 1
                self._counts["requests"] += len(batch.parts)
                self._counts["rows"] += batch.size
                self._counts["filled"] += size - batch.size
            try:
                self._answer(model, signature, queue, batch.parts, size)
            finally:  # nobody waits for ever, whatever went wrong
                for part in batch.parts:
                    part.answer.cancel()

    def _answer(
        self, model: LoadedModel, signature: str, queue: _Queue, parts: list[_Part], size: int
    ) -> None:
        """Runs the model for parts together; where that fails, for each alone."""
        try:
            if len(parts) == 1 and size == parts[0].size:
                parts[0].answer.set_result(self._run(model, signature, parts[0].inputs))
                return
            arrays = joined(queue.rows, [part.inputs for part in parts], size)
            outputs = split(self._run(model, signature, arrays), [p.size for p in parts], size)
        except ServingError as error:
            if len(parts) == 1:
                parts[0].answer.set_exception(error)
                return
            for part in parts:
                self._answer(model, signature, queue, [part], queue.options.filled(part.size))
            return
        for part, answer in zip(parts, outputs, strict=False):
            part.answer.set_result(answer)


def _slice(
    rows: Rows, inputs: Mapping[str, np.ndarray], start: int, size: int
) -> dict[str, np.ndarray]:
    """Some rows of a request."""
    some = {name: inputs[name][start : start + size] for name in rows.by_row}
    return {**inputs, **some}


def open_batcher(
    enabled: bool, parameters_file: Path | None = None, per_model: bool = False
) -> Batcher | None:
    """The batcher that a server is told to use; None where batching is not enabled.

    Raises:
        InputError: a wrong file, or options of batching without batching.
    """
    if not enabled:
        if parameters_file is not None:
            raise InputError(
                "server_options.batching_parameters_file is set without setting "
                "server_options.enable_batching to true. Add --enable_batching."
            )
        if per_model:
            raise InputError(
                "server_options.enable_per_model_batching_parameters is set without setting "
                "server_options.enable_batching to true. Add --enable_batching."
            )
        return None
    options = BatchingOptions() if parameters_file is None else read_batching(parameters_file)
    return Batcher(options, per_model=per_model)
