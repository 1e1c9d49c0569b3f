"""`tfrs-sage enrich`: what others say of pins and products, as further texts of theirs."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from tfrs_sage.cli.options import (
    BeamOption,
    ConfigOption,
    DirOption,
    InputOption,
    PresetOption,
    SetOption,
)
from tfrs_sage.cli.output import JsonOption, emit

FOLDER = "enrichments"  # of a run


def run_of(dir: Path, input: str, preset: str, config: Path | None, settings: list[str]) -> Any:
    """The run of a folder: as it was configured, else a new one."""
    from tfrs_sage.cli.run_folder import RunFolder
    from tfrs_sage.training.config import load_config

    own = dir / "config.yaml"
    if config is None and own.is_file():
        config = own
    return RunFolder(dir, load_config(preset, config, settings), input)


def enrich(
    input: InputOption,
    dir: DirOption,
    captions: Annotated[
        str | None,
        typer.Option(help="Caption images with this keras-hub image-to-text preset."),
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="Images to caption of each entity.")] = 1,
    prompt: Annotated[str | None, typer.Option(help="What the captioner is asked.")] = None,
    board_titles: Annotated[
        bool, typer.Option("--board-titles", help="Titles of the boards that pins are saved to.")
    ] = False,
    engaged_queries: Annotated[
        bool, typer.Option("--engaged-queries", help="Searches that led to pins and products.")
    ] = False,
    use: Annotated[
        list[Path] | None, typer.Option(help="Take an enrichment folder that is there already.")
    ] = None,
    config: ConfigOption = None,
    set: SetOption = None,
    preset: PresetOption = "base",
    beam: BeamOption = None,
    json: JsonOption = False,
) -> None:
    """Make enrichments into RUN/enrichments (Apache Beam), and have preprocess join them.

    Captioning can be stopped: the same command goes on. Afterwards, preprocess or run with
    `--config RUN/config.yaml`, which names the enrichments.
    """
    from beam_pipelines.board_titles import board_titles as run_board_titles
    from beam_pipelines.caption_handler import CaptionHandler
    from beam_pipelines.captions import captions as run_captions
    from beam_pipelines.engaged_queries import engaged_queries as run_engaged_queries
    from tfrs_sage.artefacts import read_manifest
    from tfrs_sage.errors import InputError

    if not (captions or board_titles or engaged_queries or use):
        raise InputError(
            "enrich needs something to do. Received: none of --captions, --board-titles, "
            "--engaged-queries, --use. Name at least one."
        )
    run, arguments = run_of(dir, input, preset, config, set or []), list(beam or [])
    settings, output = run.config.preprocess, dir / FOLDER
    result: dict[str, Any] = {}
    if board_titles:
        result["board_titles"] = run_board_titles(input, output, settings, pipeline_args=arguments)
    if engaged_queries:
        result["engaged_queries"] = run_engaged_queries(
            input, output, settings, pipeline_args=arguments
        )
    if captions:
        result["captions"] = run_captions(
            input,
            output,
            CaptionHandler(captions, prompt),
            images,
            settings.max_reject_share,
            pipeline_args=arguments,
        )
    # A new folder of a field takes the place of the one that the configuration named.
    folders = [*settings.enrichments, *(str(output / room) for room in result)]
    folders += [str(folder) for folder in use or ()]
    by_field = {read_manifest(Path(path))["field"]: os.path.abspath(path) for path in folders}
    run.config = run.config.model_copy(
        update={"preprocess": settings.model_copy(update={"enrichments": tuple(by_field.values())})}
    )
    run.save()
    result["enrichments"] = list(by_field.values())
    emit(
        result,
        json,
        *(f"{room}: {result[room]['entities']}" for room in result if room != "enrichments"),
        f"join them: tfrs-sage run --input {input} --dir {dir} --config {dir / 'config.yaml'}",
    )
