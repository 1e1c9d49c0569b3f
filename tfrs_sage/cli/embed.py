"""`tfrs-sage embed`: every product and pin through its exported tower."""

from tfrs_sage.cli.options import BeamOption, DirOption, SavedModelsOption
from tfrs_sage.cli.output import JsonOption, emit


def embed(
    dir: DirOption,
    saved_models: SavedModelsOption = None,
    beam: BeamOption = None,
    json: JsonOption = False,
) -> None:
    """Embed the catalogue with the exported towers, which are exported first where absent."""
    from tfrs_sage.cli.run_folder import RunFolder

    run = RunFolder.open(dir, saved_models=saved_models, beam_args=beam)
    run.do("towers", skip_done=True)
    emit(run.do("embed") or {}, json)
