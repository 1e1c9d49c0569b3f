"""`tfrs-sage embed`: every product and pin through its exported tower."""

from pathlib import Path
from typing import Annotated

import typer

from tfrs_sage.cli.options import BeamOption, DirOption, SavedModelsOption
from tfrs_sage.cli.output import JsonOption, emit


def embed(
    dir: DirOption,
    saved_models: SavedModelsOption = None,
    as_column: Annotated[
        str | None,
        typer.Option(
            "--as-column",
            help="Also copy the tables, with the embeddings as this column (NAME_embedding), for "
            "training.compatibility of the next model.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="Folder of that copy; a new one.")
    ] = None,
    input: Annotated[
        str | None, typer.Option("--input", help="Tables to copy [those of the run].")
    ] = None,
    beam: BeamOption = None,
    json: JsonOption = False,
) -> None:
    """Embed the catalogue with the exported towers, which are exported first where absent."""
    from tfrs_sage.cli.run_folder import RunFolder
    from tfrs_sage.errors import InputError

    if (as_column is None) != (output is None) or (input is not None and as_column is None):
        raise InputError(
            "--as-column NAME_embedding, --output FOLDER and, if wanted, --input TABLES go "
            f"together. Received: --as-column {as_column}, --output {output}, --input {input}."
        )
    run = RunFolder.open(dir, saved_models=saved_models, beam_args=beam)
    run.do("towers", skip_done=True)
    if as_column is None or output is None:
        emit(run.do("embed") or {}, json)
        return
    run.do("embed", skip_done=True)
    tables = input or run.input
    if tables is None:
        raise InputError("--as-column needs the folder of the tables. Found: none. Give --input.")
    from tfrs_sage.export.embedding_column import write_embedding_column

    emit(write_embedding_column(run.path, tables, as_column, output), json)
