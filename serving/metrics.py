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
_EXAMPLE_BOUNDS = tuple(float(2**power) for power in range(15))

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

    def add(self, *values: str, amount: int = 1) -> None:
        """So many more for these values of the labels."""
        with self._lock:
            self._counts[values] = self._counts.get(values, 0) + amount

    def total(self) -> int:
        """What has been counted, whatever the labels."""
        with self._lock:
            return sum(self._counts.values())

    def lines(self) -> Iterator[str]:
        with self._lock:
            counts = dict(self._counts)
        for values, count in sorted(counts.items()):
            yield f"{self.name}{_braces(self.labels, values)} {count}"


class Histogram:
    """Amounts by labels; for all threads.

    Args:
        name: as it is written.
        labels: names of the labels.
        bounds: upper bounds of the buckets, rising.
    """

    kind = "histogram"

    def __init__(self, name: str, *labels: str, bounds: tuple[float, ...] = BOUNDS_US) -> None:
        self.name, self.labels, self._bounds = name, labels, bounds
        self._lock = threading.Lock()
        self._buckets: dict[_Labels, list[int]] = {}
        self._sums: dict[_Labels, float] = {}

    def observe(self, amount: float, *values: str) -> None:
        """One more observation for these values of the labels."""
        with self._lock:
            buckets = self._buckets.setdefault(values, [0] * (len(self._bounds) + 1))
            buckets[bisect.bisect_left(self._bounds, amount)] += 1
            self._sums[values] = self._sums.get(values, 0.0) + amount

    def lines(self) -> Iterator[str]:
        with self._lock:
            found = {
                key: (list(buckets), self._sums[key]) for key, buckets in self._buckets.items()
            }
        for values, (buckets, total) in sorted(found.items()):
            up_to = list(itertools.accumulate(buckets))
            for bound, count in zip([*map(_number, self._bounds), "+Inf"], up_to, strict=True):
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
        example_counts, example_count_total: examples a request of Classify and the like, by model.
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
        self.example_counts = Histogram(
            f"{prefix}request_example_counts", "model", bounds=_EXAMPLE_BOUNDS
        )
        self.example_count_total = Counter(f"{prefix}request_example_count_total", "model")
        self._gauges: dict[str, Callable[[], Mapping[str, object]]] = {}

    @contextmanager
    def request(self, model_name: str, entrypoint: str, api: str = "Predict") -> Iterator[None]:
        """Around a request of an API; counts its status, and its time where it is answered."""
        start = time.perf_counter()
        try:
            yield
        except ServingError as error:
            self.request_count.add(model_name, error.code.name)
            raise
        self.request_count.add(model_name, "OK")
        self.request_latency.observe(_since_us(start), model_name, api, entrypoint)

    def count_examples(self, model_name: str, count: int) -> None:
        """Tells how many examples a request has, where it has any."""
        if count:
            self.example_counts.observe(count, model_name)
            self.example_count_total.add(model_name, amount=count)

    def total(self, name: str) -> int:
        """What a counter has counted; 0 where there is none of that name.

        Args:
            name: as Prometheus reads it, or with slashes, as TF Serving's sources have it.
        """
        counters = (self.request_count, self.example_count_total)
        return sum(one.total() for one in counters if one.name == name.replace("/", ":"))

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
            self.example_counts,
            self.example_count_total,
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
