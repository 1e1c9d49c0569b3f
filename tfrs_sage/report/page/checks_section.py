"""What may be wrong with the data: the checks with their numbers, the warnings in sentences."""

from collections.abc import Sequence
from typing import Any

from tfrs_sage.errors import InputError
from tfrs_sage.report.data_checks import check_data
from tfrs_sage.report.page.material import Absent, Material


def checks_section(run: Material) -> dict[str, Any] | Absent:
    """`check_data` as rows: one a task, and one a kind of candidate."""
    try:
        found = check_data(run.path, run.split)
    except InputError as error:
        return Absent(str(error))
    rows = []
    for name, one in found["tasks"].items():
        rows.append(
            {
                "task": name,
                "queries": one["num_queries"],
                "pairs": one["num_pairs"],
                "leaked": one["leakage"]["shared_pairs"],
                "leaked_share": one["leakage"]["pair_share"],
                "shared_queries": one["leakage"]["query_share"],
                "duplicates": one.get("duplicates"),
                "interval": one.get("interval"),
                "drift": one.get("drift", {}),
            }
        )
    return {
        "tasks": rows,
        "quantities": sorted({name for row in rows for name in row["drift"]}),
        "catalogue": found["catalogue"],
        "warnings": found["warnings"],
        "grouped": grouped(found["warnings"], list(found["tasks"])),
    }


def grouped(warnings: Sequence[str], tasks: Sequence[str]) -> list[tuple[str, str]]:
    """One line a task, its name and all that is said of it; then a line for each other warning."""
    lines: dict[str, list[str]] = {}
    rest = []
    for text in warnings:
        task = next((one for one in tasks if text.startswith(f"{one}: ")), None)
        if task is None:
            rest.append(("", text))
        else:
            lines.setdefault(task, []).append(text.removeprefix(f"{task}: "))
    return [*((task, "; ".join(said)) for task, said in sorted(lines.items())), *rest]
