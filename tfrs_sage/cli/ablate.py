"""`tfrs-sage ablate`: what each part of the model gives."""

import json as jsonlib
import logging
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tfrs_sage.cli.options import DirOption, SetOption
from tfrs_sage.cli.output import JsonOption, emit

logger = logging.getLogger(__name__)
SHARED = ("examples", "catalogue", "vocabulary", "mined")


def variant_run(parent: Any, folder: Path, config: Any) -> Any:
    """A `RunFolder` of its own over the parent's preprocessed tables."""
    from tfrs_sage.cli.run_folder import RunFolder

    folder.mkdir(parents=True, exist_ok=True)
    for name in SHARED:
        if (parent.path / name).exists() and not (folder / name).exists():
            (folder / name).symlink_to((parent.path / name).resolve())
    run = RunFolder(folder, config)
    run.save()
    return run


def outcome_of(run: Any, split: str, tasks: Collection[str]) -> tuple[Any, Any]:
    """Trains and ranks a variant unless that is done; its ranks and what its training noted.

    Args:
        run: of the variant.
        split: whose pairs are ranked.
        tasks: that it trains; the others are left out.
    """
    import keras

    from tfrs_sage.report.ranks import ranks_path, read_ranks
    from tfrs_sage.report.trained_vectors import rank_trained

    run.do("train", skip_done=True)
    ranks, noted = ranks_path(run.path, split), run.path / "metrics" / "train.json"
    if not (ranks.is_file() and ranks.stat().st_mtime > noted.stat().st_mtime):
        rank_trained(run.path, run.config, split, tasks)
    keras.backend.clear_session()  # else each variant would leave its graphs behind
    return read_ranks(run.path, split), jsonlib.loads(noted.read_text(encoding="utf-8"))


def chosen_variants(
    plan: Mapping[str, Any], config_of: Callable[[Mapping[str, Any]], Any]
) -> dict[str, Mapping[str, Any]]:
    """The variants whose configuration is not that of the reference, which is the first one.

    All of them are read before anything is trained, so that a wrong setting ends it at once.
    """
    configs = {variant: config_of(changes) for variant, changes in plan.items()}
    reference = next(iter(configs))
    kept: dict[str, Mapping[str, Any]] = {}
    for variant, changes in plan.items():
        if variant != reference and configs[variant] == configs[reference]:
            logger.info("%s is the reference itself: left out", variant)
        else:
            kept[variant] = changes
    return kept


def summary_table(plan: str, summary: Mapping[str, Any]) -> Any:
    """A section for each group and task; in it the variants that were trained for it."""
    from rich.table import Table

    from tfrs_sage.report.ablation import columns

    table = Table(title=f"ablation {plan}: Recall@10 over all candidates")
    headings = ("task", "variant", "recall@10", "95% of queries", "± of seeds")
    for heading in (*headings, "to the first", "95% of queries", "p", "train s"):
        table.add_column(heading, justify="left" if heading in ("task", "variant") else "right")
    for kind, name in columns(summary):
        shown = [variant for variant, one in summary.items() if name in one[kind]]
        for variant in shown:
            cell = summary[variant][kind][name]
            table.add_row(
                f"{name} (all)" if kind == "groups" else name,
                variant,
                f"{cell['recall@10']:.3f}",
                "{:.3f} to {:.3f}".format(*cell["interval"]),
                "" if cell["std"] is None else f"{cell['std']:.3f}",
                *_difference(cell.get("against_reference")),
                f"{summary[variant]['train_seconds']:.0f}",
                end_section=variant == shown[-1],
            )
    return table


def _difference(against: Mapping[str, Any] | None) -> list[str]:
    """Difference to the reference, its interval and p value; empty for the reference."""
    if against is None:
        return ["", "", ""]
    return [
        f"{against['difference']:+.3f}",
        "{:+.3f} to {:+.3f}".format(*against["interval"]),
        f"{against['p_value']:.4f}",
    ]


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

    The first variant is the reference: the others take as many steps of as many pairs, and are
    tested against it query by query. Each is a run folder under RUN/ablations, which `compare` and
    `evaluate` take as any other; nothing is exported before. Stopped and begun again, it goes on
    where it was; variants that are done are not trained again, and more --seeds add to those that
    are there.

    A plan file maps a variant's name to its settings, the reference first:

        base: {}

        wide: {embedding_dim: 512}

        no pictures: {product_tower.use_images: false}

        clicks only: {training.tasks: {search/product/click: {}}}
    """
    from tfrs_sage.artefacts import read_manifest, write_json
    from tfrs_sage.cli.run_folder import RunFolder
    from tfrs_sage.report.ablation import Outcome, variant_summary
    from tfrs_sage.report.ablation_plans import (
        folder_names,
        read_plan,
        task_groups,
        variant_settings,
    )
    from tfrs_sage.training.assemble import chosen_tasks
    from tfrs_sage.training.config import load_config

    def configured(changes: Mapping[str, Any], *more: str, reference: Any = None) -> Any:
        settings = (*(set or ()), *variant_settings(changes, reference), *more)
        return load_config("base", dir / "config.yaml", settings)

    parent = RunFolder.open(dir)
    manifest = read_manifest(dir / "examples")
    counts = manifest["tasks"]
    texts = {entity: spec["texts"] for entity, spec in manifest["entities"].items()}
    config = configured({})
    tested = [name for name in chosen_tasks(config, counts) if counts[name].get(split)]
    pairs = {name: counts[name]["train"] for name in tested}
    variants = chosen_variants(read_plan(plan, config, pairs, texts), configured)
    names, stem = folder_names(variants), Path(plan).stem
    outcomes = {variant: Outcome() for variant in variants}
    summary: dict[str, Any] = {}
    reference = None
    for number, (seed, variant) in enumerate((s, v) for s in range(seeds) for v in variants):
        logger.info(
            "ablation: %d of %d, %s, seed %d", number + 1, seeds * len(variants), variant, seed
        )
        changed = configured(variants[variant], f"training.seed={seed}", reference=reference)
        tasks = chosen_tasks(changed, counts)
        folder = dir / "ablations" / stem / f"{names[variant]}-{seed}"
        ranks, noted = outcome_of(variant_run(parent, folder, changed), split, tasks)
        reference = reference or noted
        outcomes[variant].ranks.append(ranks)
        outcomes[variant].trainings.append(noted)
        first = outcomes[next(iter(variants))]
        summary[variant] = variant_summary(outcomes[variant], first, task_groups(tested))
        result = {"plan": plan, "split": split, "variants": summary}
        write_json(dir / "metrics" / f"ablation-{stem}.json", result)  # what there is so far
    emit(result, json, summary_table(plan, summary))
