"""`tfrs-sage run`: all steps, from tables to served models."""

import logging
from pathlib import Path
from typing import Annotated, Any

import typer

from tfrs_sage.cli.options import (
    BeamOption,
    ConfigOption,
    DirOption,
    InputOption,
    PresetOption,
    SavedModelsOption,
    SetOption,
)
from tfrs_sage.cli.output import JsonOption, emit

logger = logging.getLogger(__name__)


def run_all(run: Any, split: str = "test") -> dict[str, Any]:
    """Every step of a `RunFolder` that is not done yet, then the evaluation."""
    from tfrs_sage.artefacts import write_json
    from tfrs_sage.report.evaluate_run import evaluate_run
    from tfrs_sage.schema.validation import validate_tables

    run.save()
    report = validate_tables(run.input)
    write_json(run.path / "metrics" / "validation.json", report.to_json())
    if not report.ok:
        # Broken rows are set aside by preprocess, which fails when there are too many of them.
        logger.warning(
            "the tables have %d problems (`tfrs-sage validate` lists them)", report.num_problems
        )
    result: dict[str, Any] = {}
    for step in ("preprocess", "train", "towers", "embed", "index", "retrieval"):
        if (done := run.do(step, skip_done=True)) is not None:
            result[step] = done
    result["evaluation"] = evaluate_run(run.path, run.root, split, None, run.input)
    return result


def run(
    input: InputOption,
    dir: DirOption,
    config: ConfigOption = None,
    set: SetOption = None,
    preset: PresetOption = "base",
    saved_models: SavedModelsOption = None,
    split: Annotated[str, typer.Option(help="The split that is evaluated at the end.")] = "test",
    beam: BeamOption = None,
    json: JsonOption = False,
) -> None:
    """Do everything: validate, preprocess, train, embed, index, export, evaluate.

    Steps already done with the same tables and configuration are skipped.
    """
    from tfrs_sage.cli.evaluate import told
    from tfrs_sage.cli.run_folder import RunFolder
    from tfrs_sage.training.config import load_config

    folder = RunFolder(
        Path(dir), load_config(preset, config, set or ()), input, saved_models, beam or []
    )
    result = run_all(folder, split)
    emit(
        result,
        json,
        *told(result["evaluation"]),
        f"models: {folder.root}",
        f"serve them: tfrs-sage serve --dir {dir}",
        f'ask them: tfrs-sage query --dir {dir} "..."',
    )
