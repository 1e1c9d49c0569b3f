"""`tfrs-sage index`: the nearest-neighbour index over the embedded products."""

from typing import Annotated

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
        str | None, typer.Option("--kind", help="brute_force or scann [the run's config].")
    ] = None,
    recall_target: Annotated[
        float | None,
        typer.Option("--recall-target", help="Least recall against brute force [the config]."),
    ] = None,
    prefix: PrefixOption = None,
    json: JsonOption = False,
) -> None:
    """Build the index of a run's products and measure its recall against brute force.

    With --prefix the index is searched with queries that are cut alike.
    """
    from tfrs_sage.cli.run_folder import RunFolder

    run = RunFolder.open(dir)
    given = {
        "index.kind": kind,
        "index.recall_target": recall_target,
        "index.prefix": prefix,
    }
    run.change([f"{key}={value}" for key, value in given.items() if value is not None])
    emit(run.do("index") or {}, json)
