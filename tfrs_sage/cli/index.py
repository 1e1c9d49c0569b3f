"""`tfrs-sage index`: the nearest-neighbour index over the embedded products."""

from typing import Annotated

import typer

from tfrs_sage.cli.options import DirOption
from tfrs_sage.cli.output import JsonOption, emit


def index(
    dir: DirOption,
    kind: Annotated[
        str | None, typer.Option("--kind", help="brute_force or scann [the run's config].")
    ] = None,
    recall_target: Annotated[
        float | None,
        typer.Option("--recall-target", help="Least recall against brute force [the config]."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Build the index of a run's products and measure its recall against brute force."""
    from tfrs_sage.cli.run_folder import RunFolder

    run = RunFolder.open(dir)
    given = {"index.kind": kind, "index.recall_target": recall_target}
    run.change([f"{key}={value}" for key, value in given.items() if value is not None])
    emit(run.do("index") or {}, json)
