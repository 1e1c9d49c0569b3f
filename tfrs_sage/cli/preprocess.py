"""`tfrs-sage preprocess`: tables to training examples."""

from tfrs_sage.cli.options import (
    BeamOption,
    ConfigOption,
    DirOption,
    InputOption,
    PresetOption,
    SetOption,
)
from tfrs_sage.cli.output import JsonOption, emit


def preprocess(
    input: InputOption,
    dir: DirOption,
    config: ConfigOption = None,
    set: SetOption = None,
    preset: PresetOption = "base",
    beam: BeamOption = None,
    json: JsonOption = False,
) -> None:
    """Turn tables into vocabularies, catalogue records and training examples (Apache Beam)."""
    from tfrs_sage.cli.run_folder import RunFolder
    from tfrs_sage.training.config import load_config

    run = RunFolder(dir, load_config(preset, config, set or ()), input, beam_args=beam or [])
    run.save()
    emit(run.do("preprocess") or {}, json)
