"""Options that several verbs share."""

from pathlib import Path
from typing import Annotated

import typer

DirOption = Annotated[Path, typer.Option("--dir", help="Folder of the run.")]
InputOption = Annotated[
    str, typer.Option("--input", help="Folder of the tables: local, or a path that Beam reads.")
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="YAML file with any part of the configuration.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="One setting, e.g. training.epochs=3; may be given many times."),
]
PresetOption = Annotated[
    str, typer.Option("--preset", help="Where the configuration starts: tiny, base or paper.")
]
SavedModelsOption = Annotated[
    Path | None,
    typer.Option("--saved-models", help="Folder of the exported models [RUN/saved_models]."),
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="Where the users are kept: sqlite:///PATH or redis://HOST "
        "[sqlite:///RUN/users/store.sqlite].",
    ),
]
BeamOption = Annotated[
    list[str] | None,
    typer.Option("--beam", help="One option of Beam, e.g. --beam=--runner=FlinkRunner."),
]
