"""`tfrs-sage export`: SavedModels for TF Serving."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from tfrs_sage.cli.index import PrefixOption
from tfrs_sage.cli.options import DirOption, SavedModelsOption
from tfrs_sage.cli.output import JsonOption, emit
from tfrs_sage.errors import InputError

_LONGEST_CALL = 2000  # characters; a tower's 20 image vectors are nothing to read


def export(
    dir: DirOption = None,  # type: ignore[assignment]
    saved_models: SavedModelsOption = None,
    prefix: PrefixOption = None,
    query_weights: Annotated[
        Literal["float32", "float16", "int8"] | None,
        typer.Option(
            "--query-weights",
            help="How the query tower keeps its weights [float32, or as it was exported last].",
        ),
    ] = None,
    recall_loss: Annotated[
        float,
        typer.Option(
            "--recall-loss",
            min=0,
            help="What smaller weights may cost in Recall@10 of held-out searches; more, and "
            "nothing is written.",
        ),
    ] = 0.005,
    check: Annotated[
        Path | None,
        typer.Option("--check", help="Only list the ops of this SavedModel version folder."),
    ] = None,
    lint: Annotated[
        Path | None,
        typer.Option(
            "--lint",
            help="Only check this folder of TF Serving's files, e.g. serving/tfserving, against "
            "the exported models.",
        ),
    ] = None,
    request_example: Annotated[
        Path | None,
        typer.Option(
            "--request-example",
            help="Only print a REST and a gRPC call for each signature of this SavedModel version "
            "folder, with real rows.",
        ),
    ] = None,
    volume: Annotated[
        list[str] | None,
        typer.Option(
            "--volume",
            help="With --lint: a folder and where the server sees it, e.g. saved_models:/models.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Export the towers and, where the products are embedded, the retrieval models.

    With --prefix the retrieval models search the first components alone and cut what comes in; the
    towers keep their whole width.

    With --check, list the ops of an export, those that a stock TF Serving lacks and those that
    reach for files or the network, with what to do; with --lint, what a stock TF Serving would
    stumble over in its files. Exit 2 if there is any. With --request-example, print calls to copy.
    """
    given = [value is not None for value in (dir, check, lint, request_example)]
    if sum(given) != 1:
        raise InputError(
            "export takes one of --dir RUN, --check FOLDER, --lint FOLDER and --request-example "
            f"FOLDER. Received: {sum(given)} of them."
        )
    if volume and lint is None:
        raise InputError("--volume is for --lint. Received: --volume alone. Leave it out.")
    if check is not None:
        _check(check, json)
    elif lint is not None:
        _lint(lint, volume or [], json)
    elif request_example is not None:
        _request_example(request_example, json)
    else:
        _export(dir, saved_models, prefix, query_weights, recall_loss, json)


def _check(folder: Path, json: bool) -> None:
    from tfrs_sage.export.check import check_ops

    report = check_ops(folder)
    result = {
        "folder": str(folder),
        "ops": sorted(report.ops),
        "missing": list(report.missing),
        "outside": list(report.outside),
    }
    emit(result, json, "\n".join(result["ops"]), report.explain())
    if not report.fits_stock_server:
        raise typer.Exit(2)


def _lint(folder: Path, volumes: list[str], json: bool) -> None:
    from serving.tfserving.lint import lint, parse_volume

    problems = lint(folder, dict(parse_volume(volume) for volume in volumes))
    emit({"folder": str(folder), "problems": problems}, json, *(problems or ["nothing to mend"]))
    if problems:
        raise typer.Exit(2)


def _request_example(folder: Path, json: bool) -> None:
    from tfrs_sage.export.request_example import request_examples

    found = request_examples(folder)
    lines: list[str] = []
    for one in found:
        lines.append(f"# {one['signature']}")
        for call in ("curl", "python"):
            size = len(one[call])
            short = size <= _LONGEST_CALL
            lines += [one[call] if short else f"# {call}: {size} characters, see --json", ""]
    emit({"folder": str(folder), "requests": found}, json, *lines)


def _export(
    run_dir: Path,
    saved_models: Path | None,
    prefix: int | None,
    query_weights: Literal["float32", "float16", "int8"] | None,
    recall_loss: float,
    json: bool,
) -> None:
    from tfrs_sage.cli.run_folder import RunFolder
    from tfrs_sage.export.towers import export_towers

    run = RunFolder.open(run_dir, saved_models=saved_models)
    if prefix is not None:
        run.change([f"index.prefix={prefix}"])
    if query_weights is not None:  # `towers` takes the newest version as it finds it
        export_towers(run.path, run.config, run.root, query_weights, recall_loss)
    exported = run.do("towers") or {}
    if (run_dir / "embeddings" / "product" / "manifest.json").is_file():
        exported.update(run.do("retrieval") or {})
    emit(exported, json)
