"""`tfrs-sage quickstart`: the main job on the built-in marketplace, start to finish."""

from pathlib import Path
from typing import Annotated

import typer

from tfrs_sage.cli.output import JsonOption, emit

EXAMPLES = 4


def example_queries(run_dir: Path) -> list[str]:
    """Some test queries of the run, spread over their alphabet."""
    from tfrs_sage.artefacts import read_manifest
    from tfrs_sage.training.input_pipeline import read_pairs

    tasks = read_manifest(run_dir / "examples")["tasks"]
    searched = [n for n in sorted(tasks) if n.startswith("search/product") and tasks[n].get("test")]
    texts = sorted({text for name in searched for text in read_pairs(run_dir, name, "test")[0]})
    step = max(1, len(texts) // EXAMPLES)
    return texts[step // 2 :: step][:EXAMPLES]


def quickstart(
    dir: Annotated[Path, typer.Option("--dir", help="Folder of the run.")] = Path(
        "runs/quickstart"
    ),
    saved_models: Annotated[
        Path, typer.Option("--saved-models", help="Folder of the exported models.")
    ] = Path("saved_models"),
    num_products: Annotated[int, typer.Option(min=100, help="Size of the marketplace.")] = 2000,
    set: Annotated[
        list[str] | None, typer.Option("--set", help="One setting, e.g. training.epochs=3.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make the synthetic marketplace, train on it, index, export, evaluate, ask it."""
    from tfrs_sage.cli.evaluate import told
    from tfrs_sage.cli.query import answer_table, ask
    from tfrs_sage.cli.run import run_all
    from tfrs_sage.cli.run_folder import RunFolder
    from tfrs_sage.datasets.marketplace import write_marketplace
    from tfrs_sage.training.config import load_config

    tables = dir / "tables"
    if not (tables / "products.parquet").exists():
        write_marketplace(tables, num_products=num_products, seed=0)
    run = RunFolder(dir, load_config("tiny", None, set or ()), str(tables), saved_models)
    result = run_all(run)
    result["queries"] = {text: ask(run, text, None, 5) for text in example_queries(dir)}
    emit(
        result,
        json,
        *told(result["evaluation"]),
        *(answer_table(text, answers) for text, answers in result["queries"].items()),
        f"serve it: tfrs-sage serve --dir {dir}",
    )
