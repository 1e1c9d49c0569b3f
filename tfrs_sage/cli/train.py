"""`tfrs-sage train`: the towers from the examples."""

from typing import Annotated

import typer

from tfrs_sage.cli.options import DirOption, SetOption
from tfrs_sage.cli.output import JsonOption, emit


def train(
    dir: DirOption,
    set: SetOption = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Forget the checkpoints and begin again.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Train the towers of a preprocessed run; a stopped training goes on where it was."""
    import shutil

    from tfrs_sage.cli.run_folder import RunFolder

    run = RunFolder.open(dir)
    run.change(set or ())
    if restart:
        shutil.rmtree(dir / "checkpoints", ignore_errors=True)
    emit(run.do("train") or {}, json)
