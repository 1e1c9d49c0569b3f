"""Evaluates a run: its pairs of one split, ranked among all candidates by its exported towers."""

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfrs_sage.artefacts import read_manifest, write_json
from tfrs_sage.errors import InputError
from tfrs_sage.evaluation.vector_blocks import VectorBlocks
from tfrs_sage.export.savedmodel import versions
from tfrs_sage.index.prefix import check_prefix
from tfrs_sage.report.baselines import Baselines
from tfrs_sage.report.judged import judgment_figures
from tfrs_sage.report.ranks import TaskRanks, write_ranks
from tfrs_sage.report.run_vectors import RunVectors
from tfrs_sage.report.slices import Slices
from tfrs_sage.report.task_figures import Beside, evaluate_pairs
from tfrs_sage.schema.features import (
    SPLITS,
    CompatibilityTask,
    Task,
    compatibility_tasks,
)
from tfrs_sage.training.config import RunConfig, read_config
from tfrs_sage.training.input_pipeline import read_pairs

logger = logging.getLogger(__name__)


def evaluated_tasks(
    run_dir: Path, root: Path, split: str, wanted: Collection[str] | None
) -> list[str]:
    """The tasks with pairs in the split whose two sides the run embeds; the others are warned of.

    Args:
        run_dir: the run.
        root: the folder of its exported models.
        split: one of `SPLITS`.
        wanted: no others than these; None for all.
    """
    counts = read_manifest(run_dir / "examples")["tasks"]
    embedded = {path.name for path in (run_dir / "embeddings").glob("*") if path.is_dir()}
    # Texts are embedded as they are met, which takes the tower and no file.
    embedded = embedded | {"query"} if versions(root / "query_tower") else embedded - {"query"}
    names = []
    for name in sorted(name for name in counts if counts[name].get(split, 0)):
        if wanted is not None and name not in wanted:
            continue
        needed = {Task.parse(name).query_entity, Task.parse(name).candidate_type}
        if needed <= embedded:
            names.append(name)
        else:
            logger.warning("%s is left out: no embeddings of %s", name, sorted(needed - embedded))
    return names


def evaluate_run(
    run_dir: Path,
    root: Path,
    split: str = "test",
    groups: Mapping[str, Sequence[str]] | None = None,
    input: str | None = None,
    prefixes: Sequence[int] | None = None,
    tasks: Collection[str] | None = None,
    baselines: bool = False,
    slices: Sequence[str] = (),
    lists: bool = False,
    distractors: str | Path | None = None,
) -> dict[str, Any]:
    """The figures of every task of the split; written to `metrics/evaluate-<split>.json`.

    The rank of every pair is written to `metrics/ranks-<split>.parquet`, for comparisons.

    Args:
        run_dir: a run whose towers are exported and whose catalogue is embedded.
        root: the folder of its exported models.
        split: `train`, `validation` or `test`.
        groups: tasks to pool under a name of their own.
        input: the tables, for judgments; None to leave them out.
        prefixes: widths of Matryoshka prefixes; None for those that the run was trained with.
        tasks: no others than these; None for all that the run embeds.
        baselines: rank by `Baselines` too.
        slices: names of `Slices` to tell apart.
        lists: describe the lists of the ten best too (`list_figures`).
        distractors: file or folder of vectors that are further candidates (`VectorBlocks`).

    Returns:
        `tasks`, `groups` and `judgments` as in the contract, each task as `evaluate_pairs` has it.
        `tasks` also has the compatibility tasks of the training, `<task>@<column>`.

    Raises:
        InputError: unknown split or slice, a prefix that is too wide, a group of unknown or unlike
            tasks, or distractors of another width or with what needs to know them.
    """
    if split not in SPLITS:
        raise InputError(f"--split must be one of {', '.join(SPLITS)}. Received: {split!r}.")
    config = read_config(run_dir / "config.yaml")
    widths = sorted(set(config.loss.prefix_weights or ()) if prefixes is None else set(prefixes))
    for width in widths:
        check_prefix(width, config.embedding_dim)
    counts = read_manifest(run_dir / "examples")["tasks"]
    names = evaluated_tasks(run_dir, root, split, tasks)
    if distractors is not None and (baselines or lists):
        raise InputError(
            "--distractors are vectors alone: nothing is known of them that --baselines or --lists "
            "could use. Leave one of the two out."
        )
    run = RunVectors(run_dir, root)
    more = None if distractors is None else VectorBlocks(distractors)
    if more is not None:
        more.require_width(config.embedding_dim)
    sliced = Slices(run_dir) if slices else None
    beside = Beside(
        prefixes=widths,
        slices=sliced,
        slice_names=sliced.names(slices) if sliced else (),
        baselines=Baselines(run_dir, config) if baselines else None,
        lists=lists,
        distractors=more,
    )
    pairs = {name: read_pairs(run_dir, name, split) for name in names}
    train = {
        name: read_pairs(run_dir, name, "train")[1] if counts[name].get("train") else []
        for name in names
    }
    fixed = fixed_tasks(run, config, pairs)
    for group, members in (groups or {}).items():
        check_group(group, members, names, fixed)

    def figures_of(what: str, members: Sequence[str]) -> tuple[dict[str, Any], TaskRanks]:
        column = fixed[members[0]].column if members[0] in fixed else None
        plain = [str(fixed[one].task) if one in fixed else one for one in members]
        logger.info("evaluating %s: %d pairs", what, sum(len(pairs[one][0]) for one in plain))
        return evaluate_pairs(
            run,
            [Task.parse(one) for one in plain],
            [pairs[one] for one in plain],
            [train[one] for one in plain],
            beside,
            column,
        )

    result: dict[str, Any] = {"split": split}
    if more is not None:
        result["distractors"] = {"path": str(more.path), "count": more.count}
    found = {name: figures_of(name, [name]) for name in (*names, *fixed)}
    result["tasks"] = {name: figures for name, (figures, _) in found.items()}
    if groups:
        result["groups"] = {name: figures_of(name, group)[0] for name, group in groups.items()}
    if input is not None and (figures := judgment_figures(run, input, split)) is not None:
        result["judgments"] = figures
    write_ranks(run_dir, split, {name: ranks for name, (_, ranks) in found.items()})
    write_json(run_dir / "metrics" / f"evaluate-{split}.json", result)
    return result


def fixed_tasks(
    run: RunVectors, config: RunConfig, pairs: Mapping[str, tuple[list[str], list[str]]]
) -> dict[str, CompatibilityTask]:
    """The compatibility tasks of a training, by name; those without a pair are warned of.

    Args:
        run: the vectors of the run.
        config: its configuration.
        pairs: query ids and candidate ids of the tasks that are evaluated.
    """
    chosen = config.training.tasks
    trained = [Task.parse(name) for name in pairs if chosen is None or name in chosen]
    fixed = {}
    for one in compatibility_tasks(trained, config.training.fixed_columns):
        known = set(run.fixed(one.task.candidate_type, one.column)[0])
        if known.isdisjoint(pairs[str(one.task)][1]):
            logger.warning("%s is left out: no candidate of its pairs has that vector", one)
        else:
            fixed[str(one)] = one
    return fixed


def check_group(
    group: str,
    members: Sequence[str],
    names: Sequence[str],
    fixed: Mapping[str, CompatibilityTask],
) -> None:
    """Refuses a group that names an unknown task or mixes kinds of queries or candidates."""
    if unknown := [name for name in members if name not in names and name not in fixed]:
        raise InputError(
            f"--group {group} must name tasks of the split. Received: {', '.join(unknown)}; "
            f"there are {', '.join((*names, *fixed)) or 'none'}."
        )
    columns = {name: fixed[name].column for name in members if name in fixed}
    tasks = {name: fixed[name].task if name in fixed else Task.parse(name) for name in members}
    kinds = {
        (task.query_type, task.candidate_type, columns.get(name)) for name, task in tasks.items()
    }
    if len(kinds) != 1:
        raise InputError(
            f"--group {group} must join tasks of one kind of query and one kind of candidate. "
            f"Received: {', '.join(members)}."
        )
