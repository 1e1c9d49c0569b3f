"""Dead letters: what could not be used, by place and reason, counted and written beside the run."""

import json
from collections.abc import Iterable
from pathlib import Path

import apache_beam as beam

from beam_pipelines.counters import count
from tfrs_sage.artefacts import write_json
from tfrs_sage.errors import InputError
from tfrs_sage.schema.rows import Problem

REJECTS = "rejects"  # tag of the side output that holds `(table, Reject)`
# A reject as it travels: (file, row, column, found, expected).
Reject = tuple[str, int, str, str, str]


def reject_row(problems: list[Problem]) -> Iterable[beam.pvalue.TaggedOutput]:
    """Counts one row as rejected and sends its problems to the side output."""
    count(f"rejected/{problems[0].table}")
    for problem in problems:
        yield dead_letter(problem)


def dead_letter(problem: Problem) -> beam.pvalue.TaggedOutput:
    """One problem for the side output, counted by reason; the row itself may live on."""
    count(f"reason/{problem.table}/{problem.column or 'row'}/{problem.kind}")
    reject = (problem.source, problem.row or 0, problem.column, problem.found, problem.expected)
    return beam.pvalue.TaggedOutput(REJECTS, (problem.table, reject))


class WriteRejects(beam.DoFn):
    """`(table, rejects)` -> nothing: writes `<table>.jsonl`, ordered by file, row and column.

    A table's rejects are ordered in the memory of one worker: they are a small share of it, or
    the job fails.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def process(self, element: tuple[str, Iterable[Reject]]) -> None:
        table, rejects = element
        with open(self._folder / f"{table}.jsonl", "w", encoding="utf-8") as file:
            for source, row, column, found, expected in sorted(rejects):
                line = {
                    "table": table,
                    "file": Path(source).name,
                    "row": row,
                    "column": column,
                    "found": found,
                    "expected": expected,
                }
                file.write(json.dumps(line, ensure_ascii=False) + "\n")


def require_few(counts: dict[str, int], tables: Iterable[str], share: float, folder: Path) -> None:
    """Fails a job of which too much was rejected.

    Args:
        counts: of the job.
        tables: names of the tables that were read.
        share: of a table's rows that may be rejected, `max_reject_share`.
        folder: where the rejects are, for the message.

    Raises:
        InputError: naming the table, its counts and its most frequent reasons.
    """
    for table in tables:
        rows, rejected = counts.get(f"rows/{table}", 0), counts.get(f"rejected/{table}", 0)
        if rejected > share * rows:
            reasons = reasons_of(counts, table)
            worst = sorted(reasons, key=lambda reason: -reasons[reason])[:3]
            listed = ", ".join(f"{reason}: {reasons[reason]}" for reason in worst)
            raise InputError(
                f"At most {share:.2%} of the rows of table {table} may be rejected. Found: "
                f"{rejected} of {rows} ({listed}). See {folder / f'{table}.jsonl'}; mend the "
                "table, or raise preprocess.max_reject_share."
            )


def reasons_of(counts: dict[str, int], table: str) -> dict[str, int]:
    """Number of problems of a table by `column/kind`."""
    prefix = f"reason/{table}/"
    found = {name.removeprefix(prefix): n for name, n in counts.items() if name.startswith(prefix)}
    return dict(sorted(found.items()))


def write_summary(folder: Path, counts: dict[str, int], tables: Iterable[str]) -> None:
    """The manifest of the rejects: rows, rejected rows and reasons of each table."""
    write_json(
        folder / "manifest.json",
        {
            table: {
                "rows": counts.get(f"rows/{table}", 0),
                "rejected": counts.get(f"rejected/{table}", 0),
                "reasons": reasons_of(counts, table),
            }
            for table in tables
        },
    )
