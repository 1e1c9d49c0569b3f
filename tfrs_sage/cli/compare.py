"""`tfrs-sage compare`: is one run better than another."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tfrs_sage.cli.output import JsonOption, emit

SHOWN = ("recall@10", "recall@100", "ndcg@10", "mrr")


def difference_table(result: Mapping[str, Any]) -> Any:
    """One line for each task and figure."""
    from rich.table import Table

    table = Table(title=f"split {result['split']}: b - a, paired by query")
    for heading in ("task", "figure", "a", "b", "difference", "95% interval", "p", "queries"):
        table.add_column(heading, justify="left" if heading in ("task", "figure") else "right")
    named = {**result["tasks"], **result.get("groups", {})}
    for name, figures in named.items():
        for figure in SHOWN:
            one = figures[figure]
            table.add_row(
                name,
                figure,
                f"{one['a']:.3f}",
                f"{one['b']:.3f}",
                f"{one['difference']:+.3f}",
                f"{one['low']:+.3f} to {one['high']:+.3f}",
                f"{one['p_value']:.4f}",
                str(one["num_queries"]),
                end_section=figure == SHOWN[-1],
            )
    return table


def compare(
    a: Annotated[Path, typer.Option("--a", help="Folder of a run.")],
    b: Annotated[Path, typer.Option("--b", help="Folder of the other.")],
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    group: Annotated[
        list[str] | None, typer.Option("--group", help="Tasks to pool: name=task,task.")
    ] = None,
    samples: Annotated[
        int, typer.Option(min=100, help="Resamples and sign flips of each test.")
    ] = 10_000,
    json: JsonOption = False,
) -> None:
    """Test whether two evaluated runs differ: paired by query, with interval and p value."""
    from tfrs_sage.cli.evaluate import parse_groups
    from tfrs_sage.report.compare import compare_runs

    result = compare_runs(a, b, split, parse_groups(group or []), num_samples=samples)
    lines: list[Any] = [difference_table(result)]
    left_out = sum(one["num_left_out"] for one in result["tasks"].values())
    if left_out:
        lines.append(f"{left_out} pairs are left out: one of the runs was not evaluated on them")
    emit(result, json, *lines)
