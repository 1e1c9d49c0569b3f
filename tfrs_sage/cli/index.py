"""`tfrs-sage index`: builds the index of an entity's embeddings."""

from pathlib import Path
from typing import Annotated

import typer

from tfrs_sage.cli.output import JsonOption, emit


def index(
    dir: Annotated[Path, typer.Option("--dir", help="Run folder with embeddings.")],
    entity: Annotated[
        str, typer.Option("--entity", help="What to index: product, pin or query.")
    ] = "product",
    kind: Annotated[str, typer.Option("--kind", help="brute_force or scann.")] = "brute_force",
    recall_target: Annotated[
        float,
        typer.Option("--recall-target", help="Least recall that an approximate kind must reach."),
    ] = 0.95,
    as_json: JsonOption = False,
) -> None:
    """Build RUN/index/<entity> from RUN/embeddings/<entity>."""
    from tfrs_sage.artefacts import read_manifest
    from tfrs_sage.index import build_index, read_embeddings

    source = dir / "embeddings" / entity
    ids, vectors = read_embeddings(source)
    built = build_index(vectors, ids, kind=kind, recall_target=recall_target)
    # Whoever reads the index can tell which model its vectors are from.
    built.report["model_fingerprint"] = read_manifest(source).get("model_fingerprint")
    folder = built.save(dir / "index" / entity)
    emit({"folder": str(folder), **built.manifest()}, as_json)
