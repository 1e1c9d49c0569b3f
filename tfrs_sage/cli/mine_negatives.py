"""`tfrs-sage mine-negatives`: a hard negative for each training pair."""

from typing import Annotated

import typer

from tfrs_sage.cli.options import BeamOption, DirOption
from tfrs_sage.cli.output import JsonOption, emit


def mine_negatives(
    dir: DirOption,
    task: Annotated[
        list[str] | None,
        typer.Option("--task", help="A task to mine for, may be given many times [all]."),
    ] = None,
    depth: Annotated[int, typer.Option(help="Nearest candidates that are looked at.")] = 50,
    margin: Annotated[
        float,
        typer.Option(help="Drop candidates scored above the positive's cosine less this."),
    ] = 0.05,
    skip_top: Annotated[int, typer.Option(help="Leave out so many of the nearest.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the choice among what is left.")] = 0,
    exact_below: Annotated[
        int, typer.Option(help="Search fewer candidates than this exactly, more with ScaNN.")
    ] = 20_000,
    beam: BeamOption = None,
    json: JsonOption = False,
) -> None:
    """Mine hard negatives of the training pairs among the embeddings of the run (Apache Beam).

    They are trained with once `training.hard_negatives` is true.
    """
    from beam_pipelines.hard_negatives import MiningConfig
    from beam_pipelines.mine_negatives import mine_negatives as mine

    config = MiningConfig(depth, margin, skip_top, seed, exact_below)
    manifest = mine(dir, config, task, beam or [])
    emit(manifest, json, *(f"{name}: {counts}" for name, counts in manifest["tasks"].items()))
