"""`tfrs-sage export`: SavedModels for TF Serving."""

from typing import Annotated

import typer

from tfrs_sage.cli.index import PrefixOption
from tfrs_sage.cli.options import DirOption, SavedModelsOption
from tfrs_sage.cli.output import JsonOption, emit


def export(
    dir: DirOption = None,  # type: ignore[assignment]
    saved_models: SavedModelsOption = None,
    prefix: PrefixOption = None,
    check: Annotated[
        str | None,
        typer.Option("--check", help="Only list the ops of this SavedModel version folder."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Export the towers and, where the products are embedded, the retrieval models.

    With --prefix the retrieval models search the first components alone and cut what comes in; the
    towers keep their whole width.

    With --check, tell which ops of an export a stock TF Serving lacks; exit 2 if there are any.
    """
    from tfrs_sage.errors import InputError

    if check is not None:
        from tfrs_sage.export.check import check_ops

        report = check_ops(check)
        result = {"folder": check, "ops": sorted(report.ops), "missing": sorted(report.missing)}
        emit(result, json, report.explain())
        if not report.loads_on_stock_server:
            raise typer.Exit(2)
        return
    if dir is None:
        raise InputError("export needs --dir RUN or --check FOLDER. Received: neither.")
    from tfrs_sage.cli.run_folder import RunFolder

    run = RunFolder.open(dir, saved_models=saved_models)
    if prefix is not None:
        run.change([f"index.prefix={prefix}"])
    exported = run.do("towers") or {}
    if (dir / "embeddings" / "product" / "manifest.json").is_file():
        exported.update(run.do("retrieval") or {})
    emit(exported, json)
