"""`tfrs-sage report`: one HTML file about a run, and its model card."""

from typing import Annotated

import typer

from tfrs_sage.cli.options import DirOption
from tfrs_sage.cli.output import JsonOption, emit


def report(
    dir: DirOption,
    split: Annotated[str, typer.Option(help="test or validation.")] = "test",
    seed: Annotated[
        int, typer.Option(help="Of the products and queries that are drawn by chance.")
    ] = 0,
    json: JsonOption = False,
) -> None:
    """Write RUN/report/report.html, which needs no other file, and the model card beside it.

    Shows what the run has: data and its checks, training curves, figures with intervals, slices,
    ablations, neighbours with pictures, a map, attention, index, users. What is missing is named
    with the command that makes it; evaluate --baselines --slice all --lists comes first.
    """
    from tfrs_sage.cli.run_folder import RunFolder
    from tfrs_sage.report.page.build import write_report

    run = RunFolder.open(dir)
    result = write_report(run.path, run.root, run.input, split, seed)
    emit(
        result,
        json,
        f"{result['report']} ({result['bytes'] / 1e6:.1f} MB, {result['seconds']:.0f} s)",
        result["model_card"],
        *(f"warning: {text}" for text in result["warnings"]),
        *(
            f"not shown: {name}: {why}"
            for name, why in result["sections"].items()
            if why != "shown"
        ),
    )
