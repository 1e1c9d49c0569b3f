"""`tfrs-sage embed`: embeds a run's catalogue with its exported towers."""

from pathlib import Path
from typing import Annotated

import typer

from tfrs_sage.cli.output import JsonOption, emit


def embed(
    dir: Annotated[Path, typer.Option("--dir", help="Run folder with catalogue and exports.")],
    entity: Annotated[
        str, typer.Option("--entity", help="What to embed: product, pin or query.")
    ] = "product",
    model_dir: Annotated[
        Path | None,
        typer.Option(
            "--model-dir",
            help="Version folder of the tower; the newest of RUN/saved_models/<entity>_tower "
            "by default.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write RUN/embeddings/<entity> from RUN/catalogue with a Beam job."""
    from beam_pipelines.embed import embed as embed_job
    from tfrs_sage.export.savedmodel import latest_version

    tower = model_dir or latest_version(dir / "saved_models", f"{entity}_tower")
    emit(embed_job(dir, entity, tower), as_json)
