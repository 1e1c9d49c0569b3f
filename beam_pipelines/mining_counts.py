"""What became of the candidates that mining looked at: Beam's counters, summed by task."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from apache_beam.metrics import Metrics, MetricsFilter

from tfrs_sage.errors import InputError

NAMESPACE = "mine_negatives"
MILLIONTHS = 1_000_000  # Beam's counters are whole numbers: scores are summed in these
TOTALS = ("pairs", "with_negative", "candidates")
# Where the candidates went, in the order of the filters; they sum up to `candidates`.
FATES = ("skipped_top", "known_positives", "within_margin", "left")


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


def task_counts(task: str, counts: Mapping[str, int]) -> dict[str, Any]:
    """What the manifest says of a task.

    Returns:
        The `TOTALS` and `FATES`, and of the chosen negatives `mean_rank` (from 1) and
        `mean_score`, None where there is none.
    """
    found: dict[str, Any] = {name: counts.get(f"{task}/{name}", 0) for name in TOTALS + FATES}
    mined = found["with_negative"]
    rank, score = counts.get(f"{task}/rank_sum", 0), counts.get(f"{task}/score_sum", 0)
    found["mean_rank"] = round(rank / mined, 2) if mined else None
    found["mean_score"] = round(score / MILLIONTHS / mined, 4) if mined else None
    return found


def require_known(counts: Mapping[str, int], run: Path) -> None:
    """Refuses embeddings of another catalogue than that of the examples.

    Raises:
        InputError: queries or candidates without an embedding, or negatives without a record.
    """
    queries, pairs, negatives = (
        counts.get(f"unknown/{what}", 0) for what in ("query", "candidate", "negative")
    )
    if queries or pairs or negatives:
        raise InputError(
            "the embeddings must be those of the run's examples and catalogue. Found: no embedding "
            f"of {queries} queries and of the candidate of {pairs} pairs, no record of the "
            f"negative of {negatives} pairs. Run `tfrs-sage embed --dir {run}` again."
        )
