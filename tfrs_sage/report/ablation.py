"""Ablations: variants of a run, each trained equally long, as one table."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tfrs_sage.errors import InputError
from tfrs_sage.schema.features import ENRICHMENTS, ENTITY_TEXTS, Task

Plan = dict[str, Mapping[str, Any]]  # settings by the variant's name; the first is the reference
TASKS = "training.tasks"
LENGTH = ("training.steps", "training.epochs")
MOST_SINGLE_TASKS = 4

# "itemsage": ItemSage section 5.4 (modalities) and 5.3 (fusion). "losses": the negatives, each with
# and without logQ; `read_plan` adds a variant for each task by itself. "omnisearchsage" follows
# from the data: see `omnisearchsage_plan`.
OMNISEARCHSAGE = "omnisearchsage"
PLANS: dict[str, Plan] = {
    "itemsage": {
        "image + text": {},
        "text only": {"product_tower.use_images": False},
        "image only": {"product_tower.use_text": False},
        "sum": {"product_tower.fusion": "sum"},
        "sum_mlp": {"product_tower.fusion": "sum_mlp"},
    },
    "losses": {
        "mixed_sum": {},
        "mixed_concat": {"loss.mode": "mixed_concat"},
        "in_batch": {"loss.mode": "in_batch"},
        "random": {"loss.mode": "random"},
        "mixed_sum, no logQ": {"loss.correct_negatives": False, "loss.correct_positives": False},
        "in_batch, no logQ": {
            "loss.mode": "in_batch",
            "loss.correct_negatives": False,
            "loss.correct_positives": False,
        },
        "random, no logQ": {
            "loss.mode": "random",
            "loss.correct_negatives": False,
            "loss.correct_positives": False,
        },
    },
}


def omnisearchsage_plan(tasks: Collection[str], texts: Mapping[str, Collection[str]]) -> Plan:
    """Enrichments added in turn, then each kind of candidate by itself.

    OmniSearchSage (arXiv 2404.16260), its tables of text enrichments and of multi-task learning:
    `none`, `+ captions`, `+ board titles`, `+ engaged queries`, each with what came before it, on
    all search tasks together; then `only search/pin`, ... with all texts.

    Args:
        tasks: that the run trains; those of searches count.
        texts: by entity, the text features that its records have.

    Raises:
        InputError: no search tasks, or no enrichment in the records.
    """
    kinds = {kind: m for kind, m in task_groups(tasks).items() if kind.startswith("search/")}
    there = {name for names in texts.values() for name in names if name in ENRICHMENTS}
    if not kinds or not there:
        raise InputError(
            f"--plan {OMNISEARCHSAGE} compares enrichments of search tasks. Found: search tasks "
            f"{', '.join(kinds) or 'none'}, enrichments {', '.join(sorted(there)) or 'none'}. Run "
            "`tfrs-sage enrich`, then preprocess again."
        )
    every: dict[str, Any] = {task: {} for members in kinds.values() for task in members}

    def taking(enrichments: Collection[str]) -> dict[str, Any]:
        return {
            f"{entity}_tower.texts": [
                name
                for name in ENTITY_TEXTS[entity]
                if name not in ENRICHMENTS or name in enrichments
            ]
            for entity in ("pin", "product")
        }

    plan: Plan = {"none": {TASKS: every, **taking(())}}
    taken: list[str] = []
    for name in (name for name in ENRICHMENTS if name in there):
        taken.append(name)
        label = "captions" if name == "caption" else name.replace("_", " ")
        plan[f"+ {label}"] = {TASKS: every, **taking(taken)}
    if len(kinds) > 1:
        for kind, members in kinds.items():
            plan[f"only {kind}"] = {TASKS: {task: {} for task in members}, **taking(taken)}
    return plan


def read_plan(
    name: str,
    pairs: Mapping[str, int] | None = None,
    texts: Mapping[str, Collection[str]] | None = None,
) -> Plan:
    """A named plan, or one from a YAML file: `variant: {setting: value}`.

    Args:
        name: of the plan, or a YAML file.
        pairs: training pairs of each task that the run trains. Where there are two tasks or more,
            `losses` gets a variant `only <task>` for each of the four with most pairs.
        texts: by entity, the text features that its records have, for `omnisearchsage`.

    Raises:
        InputError: neither a plan nor a file, or the file is no such mapping; as
            `omnisearchsage_plan`.
    """
    if name == OMNISEARCHSAGE:
        return omnisearchsage_plan(pairs or {}, texts or {})
    if name in PLANS:
        tasks = sorted(pairs or {}, key=lambda task: (-(pairs or {})[task], task))
        single = tasks[:MOST_SINGLE_TASKS] if name == "losses" and len(tasks) > 1 else []
        return {**PLANS[name], **{f"only {task}": {TASKS: {task: {}}} for task in single}}
    path = Path(name)
    if not path.is_file():
        named = ", ".join((*PLANS, OMNISEARCHSAGE))
        raise InputError(
            f"--plan must be {named} or a YAML file. Received: {name!r}, which is neither."
        )
    plan = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not (isinstance(plan, dict) and plan and all(isinstance(v, dict) for v in plan.values())):
        raise InputError(f"A plan maps a variant to its settings. Found in {name}: {plan!r}.")
    return plan


def variant_settings(
    changes: Mapping[str, Any], reference: Mapping[str, Any] | None = None
) -> list[str]:
    """A variant's changes as `key=value` settings, of the reference's length.

    A variant takes as many steps as the reference did, and a single task as many pairs a step as
    all tasks of the reference together: otherwise it would see fewer pairs, or the same ones more
    often. A plan that sets the length itself is left as it is.

    Args:
        changes: as the plan has them.
        reference: `metrics/train.json` of the reference; None for the reference itself.

    Returns:
        Settings; the values are JSON, which is YAML too.
    """
    settings = []
    tasks = changes.get(TASKS)
    if reference is not None:
        if not any(key in changes for key in LENGTH):
            settings.append(f"training.steps={reference['steps']}")
        if tasks is not None and len(tasks) == 1:
            per_step = sum(reference["pairs_per_step"].values())
            tasks = {one: {"batch_size": per_step, **(given or {})} for one, given in tasks.items()}
    if tasks is not None:
        # Null first: the tasks named replace those of the run, and are not merged into them.
        settings += [f"{TASKS}=null", f"{TASKS}={json.dumps(tasks)}"]
    rest = {key: value for key, value in changes.items() if key != TASKS}
    return [*settings, *(f"{key}={json.dumps(value)}" for key, value in rest.items())]


def task_groups(tasks: Collection[str]) -> dict[str, list[str]]:
    """All tasks of one kind of query and candidate, pooled: `search/product`, ..."""
    groups: dict[str, list[str]] = {}
    for name in tasks:
        task = Task.parse(name)
        groups.setdefault(f"{task.query_type}/{task.candidate_type}", []).append(name)
    return groups


@dataclass
class Outcome:
    """What the trainings of one variant gave, a seed each.

    Attributes:
        figures: `evaluate_run` of each seed, of the tasks that were trained alone.
        trainings: `metrics/train.json` of each seed.
    """

    figures: list[Mapping[str, Any]] = field(default_factory=list)
    trainings: list[Mapping[str, Any]] = field(default_factory=list)


def summarise(outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    """Mean and spread over the seeds of each variant's Recall@10, by task and group of tasks.

    Returns:
        By variant: `tasks` and `groups`, of each `recall@10` (mean), `std` over the seeds (0 for
        one), `num_seeds`; `train_seconds` (mean), `steps` and `pairs_per_step`.
    """
    summary: dict[str, Any] = {}
    for variant, outcome in outcomes.items():
        first = outcome.trainings[0]
        summary[variant] = {
            kind: {
                name: _spread([seed[kind][name]["recall@10"] for seed in outcome.figures])
                for name in outcome.figures[0].get(kind, {})
            }
            for kind in ("tasks", "groups")
        }
        summary[variant] |= {
            "train_seconds": round(
                float(np.mean([one["seconds"] for one in outcome.trainings])), 1
            ),
            "steps": first["steps"],
            "pairs_per_step": sum(first["pairs_per_step"].values()),
        }
    return summary


def _spread(values: Sequence[float]) -> dict[str, Any]:
    return {
        "recall@10": float(np.mean(values)),
        "std": float(np.std(values)),
        "num_seeds": len(values),
    }


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
