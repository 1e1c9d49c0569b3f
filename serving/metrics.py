"""Counters and histograms in Prometheus' text format, under TF Serving's names.

TF Serving's names begin with a colon and its counters do not end in `_total`, so that Prometheus'
own client library cannot write them.

References:
    TF Serving, `servables/tensorflow/util.cc` and `util/prometheus_exporter.cc`: names, labels,
    microseconds in 33 buckets that grow by 1.8 from 10.
    https://prometheus.io/docs/instrumenting/exposition_formats/
"""

import bisect
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from serving.errors import ServingError
from serving.models import LoadedModel, Run
from serving.warmup import replay

DEFAULT_PATH = "/monitoring/prometheus/metrics"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BOUNDS_US = tuple(10 * 1.8**power for power in range(33))

_Labels = tuple[str, ...]


class Counter:
    """Counts by labels; for all threads.

    Args:
        name: as it is written.
        labels: names of the labels.
    """

    kind = "counter"

    def __init__(self, name: str, *labels: str) -> None:
        self.name, self.labels = name, labels
        self._lock = threading.Lock()
        self._counts: dict[_Labels, int] = {}

    def add(self, *values: str) -> None:
        """One more for these values of the labels."""
        with self._lock:
            self._counts[values] = self._counts.get(values, 0) + 1

    def lines(self) -> Iterator[str]:
        with self._lock:
            counts = dict(self._counts)
        for values, count in sorted(counts.items()):
            yield f"{self.name}{_braces(self.labels, values)} {count}"


class Histogram:
    """Microseconds by labels; for all threads.

    Args:
        name: as it is written.
        labels: names of the labels.
    """

    kind = "histogram"

    def __init__(self, name: str, *labels: str) -> None:
        self.name, self.labels = name, labels
        self._lock = threading.Lock()
        self._buckets: dict[_Labels, list[int]] = {}
        self._sums: dict[_Labels, float] = {}

    def observe(self, microseconds: float, *values: str) -> None:
        """One more observation for these values of the labels."""
        with self._lock:
            buckets = self._buckets.setdefault(values, [0] * (len(BOUNDS_US) + 1))
            buckets[bisect.bisect_left(BOUNDS_US, microseconds)] += 1
            self._sums[values] = self._sums.get(values, 0.0) + microseconds

    def lines(self) -> Iterator[str]:
        with self._lock:
            found = {
                key: (list(buckets), self._sums[key]) for key, buckets in self._buckets.items()
            }
        for values, (buckets, total) in sorted(found.items()):
            up_to = list(itertools.accumulate(buckets))
            for bound, count in zip([*map(_number, BOUNDS_US), "+Inf"], up_to, strict=True):
                braces = _braces((*self.labels, "le"), (*values, bound))
                yield f"{self.name}_bucket{braces} {count}"
            braces = _braces(self.labels, values)
            yield f"{self.name}_sum{braces} {_number(total)}"
            yield f"{self.name}_count{braces} {up_to[-1]}"


class ServingMetrics:
    """What a server counts.

    Attributes:
        request_count: requests by model and status; requests for models that are not served are
            told together, under no name, or clients could fill the memory with names.
        request_latency: of requests that were answered, by model, API and entrypoint.
        runtime_latency: of the model alone.
        warmup_latency: of warm-ups, by path and status.
        version_latency: of the model alone, by version and signature (TF Serving has none).
    """

    def __init__(self) -> None:
        prefix = ":tensorflow:serving:"
        self.request_count = Counter(f"{prefix}request_count", "model_name", "status")
        self.request_latency = Histogram(
            f"{prefix}request_latency", "model_name", "API", "entrypoint"
        )
        self.runtime_latency = Histogram(f"{prefix}runtime_latency", "model_name", "API", "runtime")
        self.warmup_latency = Histogram(f"{prefix}model_warmup_latency", "model_path", "status")
        self.version_latency = Histogram(
            "tfrs_sage:runtime_latency", "model_name", "version", "signature"
        )
        self._gauges: dict[str, Callable[[], Mapping[str, object]]] = {}

    @contextmanager
    def request(self, model_name: str, entrypoint: str) -> Iterator[None]:
        """Around a Predict request; counts its status, and its time where it is answered."""
        start = time.perf_counter()
        try:
            yield
        except ServingError as error:
            self.request_count.add(model_name, error.code.name)
            raise
        self.request_count.add(model_name, "OK")
        self.request_latency.observe(_since_us(start), model_name, "Predict", entrypoint)

    def timed(self, run: Run) -> Run:
        """`run`, with its time told."""

        def timed_run(
            model: LoadedModel, signature: str, inputs: Mapping[str, np.ndarray]
        ) -> dict[str, np.ndarray]:
            start = time.perf_counter()
            outputs = run(model, signature, inputs)
            took_us = _since_us(start)
            self.runtime_latency.observe(took_us, model.name, "Predict", "TF2")
            self.version_latency.observe(took_us, model.name, str(model.version), signature)
            return outputs

        return timed_run

    def timed_warmup(self, model: LoadedModel) -> None:
        """`serving.warmup.replay`, with its time told."""
        start, status = time.perf_counter(), "OK"
        try:
            replay(model)
        except ServingError as error:
            status = error.code.name
            raise
        finally:
            self.warmup_latency.observe(_since_us(start), str(model.folder), status)

    def add_counts(self, prefix: str, counts: Callable[[], Mapping[str, object]]) -> None:
        """Also tells the numbers of a mapping, as `tfrs_sage:<prefix>_<name>`, as they then are."""
        self._gauges[prefix] = counts

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        lines = []
        for one in (
            self.request_count,
            self.request_latency,
            self.runtime_latency,
            self.warmup_latency,
            self.version_latency,
        ):
            lines += [f"# TYPE {one.name} {one.kind}", *one.lines()]
        for prefix, counts in sorted(self._gauges.items()):
            for name, value in counts().items():
                if isinstance(value, int | float):  # also false and true, as 0 and 1
                    metric = f"tfrs_sage:{prefix}_{name}"
                    lines += [f"# TYPE {metric} gauge", f"{metric} {_number(float(value))}"]
        return ("\n".join(lines) + "\n").encode()


def _since_us(start: float) -> float:
    return (time.perf_counter() - start) * 1e6


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _braces(names: _Labels, values: _Labels) -> str:
    pairs = (f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))
    return f"{{{','.join(pairs)}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
