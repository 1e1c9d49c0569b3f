"""`tfrs-sage cluster-users`: users' interests from their histories, in batch."""

from pathlib import Path
from typing import Annotated

import typer

from tfrs_sage.cli.options import BeamOption, DirOption, StoreOption
from tfrs_sage.cli.output import JsonOption, emit
from tfrs_sage.errors import InputError


def cluster_users(
    dir: DirOption,
    input: Annotated[
        str | None, typer.Option("--input", help="Folder of the tables [the run's own].")
    ] = None,
    days: Annotated[
        float | None, typer.Option("--days", help="Age of the oldest actions [users.window_days].")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="Largest squared distance [the config].")
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(
            "--split",
            help="Engagements to take; may be given many times [train, so that the evaluation "
            "meets actions that the clusters have not seen]. To serve: all of train, validation, "
            "test.",
        ),
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of", help="Leave out later actions; ISO 8601 [the newest action that is taken]."
        ),
    ] = None,
    store: StoreOption = None,
    attributed: Annotated[
        bool,
        typer.Option("--attributed", help="Also take rows of other query types with a user_id."),
    ] = False,
    beam: BeamOption = None,
    json: JsonOption = False,
) -> None:
    """Cluster every user's actions and write the clusters to Parquet and the user store."""
    from beam_pipelines.cluster_users import cluster_users as job
    from tfrs_sage.cli.run_folder import RunFolder
    from tfrs_sage.users.online import parse_time

    run = RunFolder.open(Path(dir), input=input)
    if run.input is None:
        raise InputError(
            f"The run must know its tables. Found: none in {dir}/steps.json. Give --input."
        )
    given = {"users.window_days": days, "users.threshold": threshold}
    run.change([f"{key}={value}" for key, value in given.items() if value is not None])
    result = job(
        run.path,
        run.input,
        run.config.users,
        tuple(split or ("train",)),
        None if as_of is None else parse_time(as_of),
        store,
        attributed,
        run.config.preprocess,
        beam or (),
    )
    emit(result, json)
