"""`tfrs-sage validate`: what is wrong with a folder of tables."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tfrs_sage.cli.output import JsonOption, emit

if TYPE_CHECKING:
    from tfrs_sage.schema.validation import ValidationReport


def validate(
    input: Annotated[
        str, typer.Option(help="Folder of the tables: local, or a path that Beam reads.")
    ],
    limit: Annotated[int, typer.Option(min=1, help="Problems of one kind that are listed.")] = 100,
    json: JsonOption = False,
) -> None:
    """Check the input tables: columns, types, ids, references, vectors, images.

    Exit code 2 when there are problems; all are counted, the first of each kind listed.
    """
    from tfrs_sage.schema.validation import validate_tables

    report = validate_tables(input, limit)
    emit(report.to_json(), json, *_told(report))
    if not report.ok:
        raise typer.Exit(2)


def _told(report: "ValidationReport") -> list[Any]:
    """The report as rich prints it: rows, warnings, problems, totals."""
    told: list[Any] = [f"{table}: {count} rows" for table, count in report.rows.items()]
    told += [f"warning: {warning}" for warning in report.warnings]
    if report.ok:
        return [*told, "no problems"]
    return [*told, _table(report), _totals(report)]


def _table(report: "ValidationReport") -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"{report.num_problems} problems", title_justify="left")
    for heading in ("table", "row", "column", "found", "expected", "file"):
        table.add_column(heading, overflow="fold")
    for problem in report.problems:
        row = "" if problem.row is None else str(problem.row)
        cells = (problem.table, row, problem.column, problem.found, problem.expected)
        # Text: a value such as "[red]" is no markup.
        table.add_row(*(Text(cell) for cell in (*cells, problem.source.rsplit("/", 1)[-1])))
    return table


def _totals(report: "ValidationReport") -> str:
    lines = []
    for kind, count in report.problem_counts.items():
        unlisted = count - report.limit
        more = f" ({unlisted} of them not listed)" if unlisted > 0 else ""
        lines.append(f"{kind}: {count}{more}")
    return "\n".join(lines)
