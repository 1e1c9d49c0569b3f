"""`tfrs-sage index`: the nearest-neighbour index over the embedded products."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from tfrs_sage.cli.options import DirOption
from tfrs_sage.cli.output import JsonOption, emit

PrefixOption = Annotated[
    int | None,
    typer.Option(
        "--prefix", min=1, help="Search the first so many components alone [the run's config]."
    ),
]


def index(
    dir: DirOption,
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            help="auto, brute_force, scann or partitioned [the run's config]. auto is brute_force "
            "below 20,000 products, else partitioned.",
        ),
    ] = None,
    recall_target: Annotated[
        float | None,
        typer.Option("--recall-target", help="Least recall against brute force [the config]."),
    ] = None,
    prefix: PrefixOption = None,
    attribute: Annotated[
        list[str] | None,
        typer.Option(
            "--attribute",
            help="A text column of the products that searches can be filtered by; may be given "
            "many times [the run's config].",
        ),
    ] = None,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Build and measure every kind on one core, for the report; the run's own index "
            "stays as it is.",
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Build the index of a run's products and measure its recall against brute force.

    Recall is measured with the run's embedded text queries, where there are any, and with queries
    near the products. With --prefix the index is searched with queries that are cut alike.
    """
    from tfrs_sage.cli.run_folder import RunFolder

    run = RunFolder.open(dir)
    given = {
        "index.kind": kind,
        "index.recall_target": recall_target,
        "index.prefix": prefix,
        "index.attributes": f"[{', '.join(attribute)}]" if attribute else None,
    }
    changes = [f"{key}={value}" for key, value in given.items() if value is not None]
    if compare:
        _compare(run, changes, json)
        return
    run.change(changes)
    emit(run.do("index") or {}, json)


def _compare(run: Any, changes: Sequence[str], json: bool) -> None:
    from tfrs_sage.artefacts import write_json
    from tfrs_sage.index.compare import compare_kinds

    run.config = run.changed(changes)
    _, vectors, queries = run.index_input()
    rows = compare_kinds(vectors, run.config.index.recall_target, queries=queries)
    count, dimension = vectors.shape
    result = {
        "count": count,
        "dimension": dimension,
        "num_text_queries": 0 if queries is None else len(queries),
        "recall_target": run.config.index.recall_target,
        "kinds": rows,
    }
    write_json(run.path / "metrics" / "index-compare.json", result)
    emit(result, json, _table(rows, f"{count} products, {dimension} components, one core"))


def _table(rows: Sequence[Mapping[str, Any]], title: str) -> Any:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    columns = {
        "recall@10": "recall@10",
        "recall@100": "recall@100",
        "queries_per_second": "queries/s, batch",
        "one_by_one_per_second": "queries/s, one by one",
        "build_seconds": "build, s",
    }
    table.add_column("kind")
    for heading in columns.values():
        table.add_column(heading, justify="right")
    for row in rows:
        cells = [str(row.get(key, "-")) for key in columns]
        table.add_row(row["kind"], *cells)
        if "failed" in row:
            table.add_row(f"  {row['failed']}", *[""] * len(columns))
    return table
