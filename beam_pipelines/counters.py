"""Counters of a job: Beam's metrics by name, summed over its steps."""

from typing import Any

from apache_beam.metrics import Metrics, MetricsFilter

NAMESPACE = "tfrs_sage"


def count(name: str, number: int = 1) -> None:
    """Adds to a counter of the job, which `job_counts` reads after it."""
    Metrics.counter(NAMESPACE, name).inc(number)


def job_counts(result: Any) -> dict[str, int]:
    """All counters of a finished job by name."""
    found = result.metrics().query(MetricsFilter().with_namespace(NAMESPACE))
    counts: dict[str, int] = {}
    for counter in found["counters"]:
        name = counter.key.metric.name
        counts[name] = counts.get(name, 0) + counter.result
    return counts
