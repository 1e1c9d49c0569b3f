"""What the variants of an ablation gave: figures, over queries and over seeds, and differences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfrs_sage.evaluation.intervals import bootstrap_interval
from tfrs_sage.evaluation.paired import paired_test
from tfrs_sage.evaluation.per_query import Weighted, recall_per_query
from tfrs_sage.report.ablation_plans import task_groups
from tfrs_sage.report.ranks import TaskRanks, pooled

K = 10
FIGURE = f"recall@{K}"
NUM_SAMPLES = 2000  # resamples and sign flips of a cell: a plan has hundreds of cells


@dataclass
class Outcome:
    """What the trainings of one variant gave, a seed each.

    Attributes:
        ranks: of each seed, by task that was trained.
        trainings: `metrics/train.json` of each seed.
    """

    ranks: list[Mapping[str, TaskRanks]] = field(default_factory=list)
    trainings: list[Mapping[str, Any]] = field(default_factory=list)


def summarise(
    outcomes: Mapping[str, Outcome], groups: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """`variant_summary` of each variant; the first is the reference."""
    reference = next(iter(outcomes.values()))
    return {name: variant_summary(one, reference, groups) for name, one in outcomes.items()}


def variant_summary(
    outcome: Outcome, reference: Outcome, groups: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """Recall@10 of a variant, by task and group of tasks, beside the reference.

    Two kinds of chance are told apart. `interval` and `against_reference` speak of other queries:
    each query counts with its mean over the seeds, and a difference is tested query by query over
    the seeds that both have (`paired_test`). `std` speaks of other trainings.

    Args:
        outcome: of the variant.
        reference: of the variant that all are compared with.
        groups: tasks to pool, by name; a variant gets those whose tasks it was trained on.

    Returns:
        `tasks` and `groups`, of each `recall@10` (mean over the seeds), `interval` (95%, over
        queries), `seeds` (the value of each), `std` (over the seeds; None for one) and, but for
        the reference, `against_reference`: `difference`, `interval`, `p_value`. Also
        `train_seconds` (mean), `steps`, `pairs_per_step`.
    """
    trained = set(outcome.ranks[0])
    members: dict[str, dict[str, Sequence[str]]] = {
        "tasks": {task: [task] for task in sorted(trained)},
        "groups": {name: m for name, m in groups.items() if trained.issuperset(m)},
    }
    first = outcome.trainings[0]
    return {
        **{
            kind: {name: _cell(outcome, reference, tasks) for name, tasks in named.items()}
            for kind, named in members.items()
        },
        "train_seconds": round(float(np.mean([one["seconds"] for one in outcome.trainings])), 1),
        "steps": first["steps"],
        "pairs_per_step": sum(first["pairs_per_step"].values()),
    }


def _cell(outcome: Outcome, reference: Outcome, tasks: Sequence[str]) -> dict[str, Any]:
    """The figures of one variant in one task or group."""
    seeds = [_recall(ranks, tasks) for ranks in outcome.ranks]
    weights = seeds[0][1]
    each = [float(np.average(values, weights=weights)) for values, _ in seeds]
    cell: dict[str, Any] = {
        FIGURE: float(np.mean(each)),
        "interval": bootstrap_interval(np.mean([values for values, _ in seeds], axis=0), weights),
        "seeds": each,
        "std": float(np.std(each, ddof=1)) if len(each) > 1 else None,
    }
    if outcome is not reference and all(task in reference.ranks[0] for task in tasks):
        shared = min(len(seeds), len(reference.ranks))
        theirs = [_recall(ranks, tasks) for ranks in reference.ranks[:shared]]
        test = paired_test(
            np.mean([values for values, _ in theirs], axis=0),
            np.mean([values for values, _ in seeds[:shared]], axis=0),
            weights,
            NUM_SAMPLES,
        )
        cell["against_reference"] = {
            "difference": test.difference,
            "interval": (test.low, test.high),
            "p_value": test.p_value,
        }
    return cell


def _recall(ranks: Mapping[str, TaskRanks], tasks: Sequence[str]) -> Weighted:
    """Recall@10 of each query and its weight; the queries are in the same order for all runs."""
    one = pooled(ranks[task] for task in tasks)  # sorts the pairs
    return recall_per_query(one.ranks, one.pair_query, K)


def columns(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the table shows, as (`tasks` or `groups`, name).

    All groups; and each task that some variant was trained on without the others, so that it can
    be compared with all variants on that task, unless its group has no other task.
    """
    every = {name for one in summary.values() for name in one["tasks"]}
    partly = [one["tasks"] for one in summary.values() if len(one["tasks"]) < len(every)]
    groups = {name: None for one in summary.values() for name in one["groups"]}
    alone = [name for one in task_groups(every).values() if len(one) == 1 for name in one]
    tasks = sorted({name for names in partly for name in names if name not in alone})
    return [*(("groups", name) for name in groups), *(("tasks", name) for name in tasks)]
