"""`tfrs-sage serve`: answers TF Serving's gRPC API with a run's exported models."""

from pathlib import Path
from typing import Annotated

import typer

from tfrs_sage.cli.output import JsonOption, emit
from tfrs_sage.errors import InputError


def serve(
    dir: Annotated[
        Path | None, typer.Option("--dir", help="Run folder: all its models are served.")
    ] = None,
    model_base_path: Annotated[
        Path | None,
        typer.Option("--model_base_path", help="Folder of one model's version folders."),
    ] = None,
    model_name: Annotated[
        str, typer.Option("--model_name", help="Name of the model at --model_base_path.")
    ] = "default",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="gRPC port; 0 takes a free one.")
    ] = 8500,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen at; 0.0.0.0 for every network.")
    ] = "127.0.0.1",
    as_json: JsonOption = False,
) -> None:
    """Serve exported models over TF Serving's gRPC API until SIGTERM or Ctrl-C."""
    if (dir is None) == (model_base_path is None):
        raise InputError(
            "serve takes either --dir or --model_base_path. Received: "
            f"{'neither' if dir is None else 'both'}."
        )
    from serving.models import load_all, load_latest, register_custom_ops
    from serving.server import serve_until_signal

    register_custom_ops()
    if dir is not None:
        from tfrs_sage.cli.run_folder import read_state

        models = load_all(read_state(dir).get("saved_models") or dir / "saved_models")
    else:
        assert model_base_path is not None
        models = [load_latest(model_name, model_base_path)]
    serve_until_signal(models, host=host, port=port)
    served = [{"name": model.name, "version": model.version} for model in models]
    emit({"served": served}, as_json, "stopped")
