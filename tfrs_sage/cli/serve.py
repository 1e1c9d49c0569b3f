"""`tfrs-sage serve`: answers TF Serving's gRPC API with a run's exported models."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from tfrs_sage.cli.options import StoreOption
from tfrs_sage.cli.output import JsonOption, emit
from tfrs_sage.errors import InputError


def user_service(run_dir: Path, wanted: bool | None, store: str | None) -> Any:
    """The service for a run's users; None where it is not wanted, or there are none."""
    from serving.run_users import has_users, open_users
    from tfrs_sage.training.config import read_config

    if wanted is None:
        wanted = store is not None or has_users(run_dir)
    if not wanted:
        return None
    return open_users(run_dir, read_config(run_dir / "config.yaml").users, store)


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
    users: Annotated[
        bool | None,
        typer.Option(
            "--users/--no-users",
            help="Also answer Recommend and RecordEvent for the run's users [where cluster-users "
            "has been run].",
        ),
    ] = None,
    store: StoreOption = None,
    query_cache_size: Annotated[
        int,
        typer.Option(
            "--query_cache_size",
            min=0,
            help="MiB of memory for embeddings of texts; 0: every text is embedded anew.",
        ),
    ] = 0,
    query_cache: Annotated[
        str | None,
        typer.Option(
            "--query_cache",
            help="redis://HOST:PORT/DB in place of memory, for several servers to share.",
        ),
    ] = None,
    query_cache_ttl: Annotated[
        float,
        typer.Option("--query_cache_ttl", help="Seconds after which a text is embedded again."),
    ] = 30 * 86_400.0,
    as_json: JsonOption = False,
) -> None:
    """Serve exported models over TF Serving's gRPC API until SIGTERM or Ctrl-C.

    With --dir also the run's users, by tfrs_sage.users.v1.UserService of the same port.
    """
    if (dir is None) == (model_base_path is None):
        raise InputError(
            "serve takes either --dir or --model_base_path. Received: "
            f"{'neither' if dir is None else 'both'}."
        )
    if dir is None and (users or store):
        raise InputError(
            "The users that are served are a run's. Received: --users or --store without --dir. "
            "Give --dir in place of --model_base_path."
        )
    # Requests share the cores. Threads for each of their small products would only wait for one
    # another: ten times the time, measured. Heeded because NumPy is not loaded yet.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from serving.models import load_all, load_latest, register_custom_ops
    from serving.query_cache import open_query_cache
    from serving.server import serve_until_signal

    cache = open_query_cache(query_cache, query_cache_size, query_cache_ttl)
    register_custom_ops()
    if dir is not None:
        from tfrs_sage.cli.run_folder import read_state

        models = load_all(read_state(dir).get("saved_models") or dir / "saved_models")
    else:
        assert model_base_path is not None
        models = [load_latest(model_name, model_base_path)]
    service = user_service(dir, users, store) if dir else None
    serve_until_signal(models, host=host, port=port, users=service, query_cache=cache)
    result: dict[str, Any] = {
        "served": [{"name": model.name, "version": model.version} for model in models]
    }
    if cache is not None:
        result["query_cache"] = cache.counts()
        cache.close()
    emit(result, as_json, "stopped")
