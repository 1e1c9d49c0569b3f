"""What became of the candidates that mining looked at: Beam's counters, summed by task."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfrs_sage.errors import InputError

MILLIONTHS = 1_000_000  # Beam's counters are whole numbers: scores are summed in these
TOTALS = ("pairs", "with_negative", "candidates")
# Where the candidates went, in the order of the filters; they sum up to `candidates`.
FATES = ("skipped_top", "known_positives", "within_margin", "left")


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
