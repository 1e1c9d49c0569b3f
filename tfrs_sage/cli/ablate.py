"""`tfrs-sage ablate`: what each part of the model gives."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tfrs_sage.cli.options import DirOption, SetOption
from tfrs_sage.cli.output import JsonOption, emit

SHARED = ("examples", "catalogue", "vocabulary")


def variant_run(parent: Any, folder: Path, settings: list[str]) -> Any:
    """A `RunFolder` of its own over the parent's preprocessed tables."""
    from tfrs_sage.cli.run_folder import RunFolder
    from tfrs_sage.training.config import load_config

    folder.mkdir(parents=True, exist_ok=True)
    for name in SHARED:
        if not (folder / name).exists():
            (folder / name).symlink_to((parent.path / name).resolve())
    config = load_config("base", parent.path / "config.yaml", settings)
    run = RunFolder(folder, config)
    run.save()
    return run


def summary_table(plan: str, summary: dict[str, Any]) -> Any:
    """Variants as rows, groups of tasks as columns, Recall@10 with the spread over the seeds."""
    from rich.table import Table

    table = Table(title=f"ablation {plan}: Recall@10 over all candidates")
    table.add_column("variant")
    for group in next(iter(summary.values())):
        table.add_column(group, justify="right")
    for variant, groups in summary.items():
        cells = [f"{one['recall@10']:.3f} ±{one['std']:.3f}" for one in groups.values()]
        table.add_row(variant, *cells)
    return table


def ablate(
    dir: DirOption,
    plan: Annotated[str, typer.Option(help="itemsage, losses, or a YAML file.")] = "itemsage",
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each variant.")] = 1,
    split: Annotated[str, typer.Option(help="The split that is evaluated.")] = "test",
    set: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Train the variants of a plan on a preprocessed run, equally long, and print one table.

    Each variant is a run folder under RUN/ablations; those that are done are not trained again.
    """
    from tfrs_sage.artefacts import read_manifest, write_json
    from tfrs_sage.cli.run_folder import RunFolder
    from tfrs_sage.report.ablation import read_plan, summarise, task_groups
    from tfrs_sage.report.evaluate_run import evaluate_run

    parent = RunFolder.open(dir)
    counts = read_manifest(dir / "examples")["tasks"]
    groups = task_groups([name for name in sorted(counts) if counts[name].get(split)])
    results: dict[str, list[Any]] = {}
    for variant, changes in read_plan(plan).items():
        for seed in range(seeds):
            name = f"{variant.replace(' ', '').replace(',', '-').replace('+', '-')}-{seed}"
            settings = [*(set or ()), *(f"{k}={v}" for k, v in changes.items())]
            run = variant_run(
                parent,
                dir / "ablations" / Path(plan).stem / name,
                [*settings, f"training.seed={seed}"],
            )
            for step in ("train", "towers", "embed"):
                run.do(step, skip_done=True)
            figures = evaluate_run(run.path, run.root, split, groups)
            results.setdefault(variant, []).append(figures["groups"])
    summary = summarise(results)
    write_json(dir / "metrics" / f"ablation-{Path(plan).stem}.json", summary)
    emit({"plan": plan, "split": split, "variants": summary}, json, summary_table(plan, summary))
