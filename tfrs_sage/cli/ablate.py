"""`tfrs-sage ablate`: what each part of the model gives."""

import json as jsonlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tfrs_sage.cli.options import DirOption, SetOption
from tfrs_sage.cli.output import JsonOption, emit

SHARED = ("examples", "catalogue", "vocabulary", "mined")


def variant_run(parent: Any, folder: Path, settings: list[str]) -> Any:
    """A `RunFolder` of its own over the parent's preprocessed tables."""
    from tfrs_sage.cli.run_folder import RunFolder
    from tfrs_sage.training.config import load_config

    folder.mkdir(parents=True, exist_ok=True)
    for name in SHARED:
        if (parent.path / name).exists() and not (folder / name).exists():
            (folder / name).symlink_to((parent.path / name).resolve())
    config = load_config("base", parent.path / "config.yaml", settings)
    run = RunFolder(folder, config)
    run.save()
    return run


def outcome_of(run: Any, split: str, groups: Mapping[str, list[str]]) -> tuple[Any, Any]:
    """Trains a variant unless that is done; its figures and what its training noted.

    The tasks that it was not trained on are left out, and so is a group that has one of them.
    """
    from tfrs_sage.artefacts import read_manifest
    from tfrs_sage.report.evaluate_run import evaluate_run
    from tfrs_sage.training.assemble import chosen_tasks

    for step in ("train", "towers", "embed"):
        run.do(step, skip_done=True)
    trained = set(chosen_tasks(run.config, read_manifest(run.path / "examples")["tasks"]))
    whole = {name: members for name, members in groups.items() if trained.issuperset(members)}
    figures = evaluate_run(run.path, run.root, split, whole, tasks=trained)
    noted = jsonlib.loads((run.path / "metrics" / "train.json").read_text(encoding="utf-8"))
    return figures, noted


def summary_table(plan: str, summary: dict[str, Any]) -> Any:
    """Variants as rows; Recall@10 of groups and tasks with the spread over the seeds, seconds."""
    from rich.table import Table

    from tfrs_sage.report.ablation import columns

    shown = columns(summary)
    table = Table(title=f"ablation {plan}: Recall@10 over all candidates")
    table.add_column("variant")
    for kind, name in shown:
        table.add_column(f"{name} (all)" if kind == "groups" else name, justify="right")
    table.add_column("train s", justify="right")
    for variant, one in summary.items():
        found = [one[kind].get(name) for kind, name in shown]
        cells = [f"{cell['recall@10']:.3f} ±{cell['std']:.3f}" if cell else "-" for cell in found]
        table.add_row(variant, *cells, f"{one['train_seconds']:.0f}")
    return table


def ablate(
    dir: DirOption,
    plan: Annotated[
        str, typer.Option(help="itemsage, losses, omnisearchsage, or a YAML file.")
    ] = "itemsage",
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each variant.")] = 1,
    split: Annotated[str, typer.Option(help="The split that is evaluated.")] = "test",
    set: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Train the variants of a plan on a preprocessed run, equally long, and print one table.

    The first variant is the reference: the others take as many steps of as many pairs. Each is a
    run folder under RUN/ablations; those that are done are not trained again.
    """
    from tfrs_sage.artefacts import read_manifest, write_json
    from tfrs_sage.cli.run_folder import RunFolder
    from tfrs_sage.report.ablation import (
        Outcome,
        read_plan,
        summarise,
        task_groups,
        variant_settings,
    )
    from tfrs_sage.training.assemble import chosen_tasks
    from tfrs_sage.training.config import load_config

    parent = RunFolder.open(dir)
    manifest = read_manifest(dir / "examples")
    counts = manifest["tasks"]
    texts = {entity: spec["texts"] for entity, spec in manifest["entities"].items()}
    config = load_config("base", dir / "config.yaml", set or ())
    tested = [name for name in chosen_tasks(config, counts) if counts[name].get(split)]
    groups = task_groups(tested)
    outcomes: dict[str, Outcome] = {}
    reference = None
    pairs = {name: counts[name]["train"] for name in tested}
    for variant, changes in read_plan(plan, pairs, texts).items():
        outcome = outcomes.setdefault(variant, Outcome())
        for seed in range(seeds):
            settings = [*(set or ()), *variant_settings(changes, reference)]
            name = re.sub(r"[^\w.]+", "-", f"{variant}-{seed}")
            run = variant_run(
                parent,
                dir / "ablations" / Path(plan).stem / name,
                [*settings, f"training.seed={seed}"],
            )
            figures, noted = outcome_of(run, split, groups)
            reference = reference or noted
            outcome.figures.append(figures)
            outcome.trainings.append(noted)
    summary = summarise(outcomes)
    result = {"plan": plan, "split": split, "variants": summary}
    write_json(dir / "metrics" / f"ablation-{Path(plan).stem}.json", result)
    emit(result, json, summary_table(plan, summary))
