"""What an ablation compares: named plans, plans from a file, and the settings of a variant."""

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from tfrs_sage.errors import InputError
from tfrs_sage.schema.features import ENRICHMENTS, ENTITY_TEXTS, Task
from tfrs_sage.training.config import RunConfig

Plan = dict[str, Mapping[str, Any]]  # settings by the variant's name; the first is the reference
TASKS = "training.tasks"
LENGTH = ("training.steps", "training.epochs")
MOST_SINGLE_TASKS = 4
ITEMSAGE, LOSSES, OMNISEARCHSAGE = "itemsage", "losses", "omnisearchsage"
PLANS = (ITEMSAGE, LOSSES, OMNISEARCHSAGE)

_NO_LOGQ = {"loss.correct_negatives": False, "loss.correct_positives": False}
# Which negatives, with and without logQ.
NEGATIVES: Plan = {
    "mixed_sum": {"loss.mode": "mixed_sum"},
    "mixed_concat": {"loss.mode": "mixed_concat"},
    "in_batch": {"loss.mode": "in_batch"},
    "random": {"loss.mode": "random"},
    "mixed_sum, no logQ": {"loss.mode": "mixed_sum", **_NO_LOGQ},
    "in_batch, no logQ": {"loss.mode": "in_batch", **_NO_LOGQ},
    "random, no logQ": {"loss.mode": "random", **_NO_LOGQ},
}


def itemsage_plan(config: RunConfig, pairs: Mapping[str, int]) -> Plan:
    """ItemSage's tables: modalities, fusion, negatives and corrections, tasks; then two sizes.

    The reference is the run as it is configured, all features and all tasks. Each other variant
    changes one thing of it; those that come out as the reference itself are left out by
    `read_plan`.

    Args:
        config: of the run.
        pairs: training pairs of each task that is trained. Where there are several, the rarest and
            the largest are trained alone too.

    References:
        ItemSage (arXiv 2205.11728), section 5.3: feature ablation, loss ablation, task ablation.
    """
    plan: Plan = {
        "image + text": {},
        "text only": {"product_tower.use_images": False},
        "image only": {"product_tower.use_text": False},
        "sum": {"product_tower.fusion": "sum"},
        "sum_mlp": {"product_tower.fusion": "sum_mlp"},
        "transformer, 1 layer": {
            "product_tower.fusion": "transformer",
            "product_tower.num_layers": 1,
        },
        "transformer, 2 layers": {
            "product_tower.fusion": "transformer",
            "product_tower.num_layers": 2,
        },
        **{name: change for name, change in NEGATIVES.items() if name != "mixed_concat"},
    }
    by_size = sorted(pairs, key=lambda task: (pairs[task], task))
    for task in dict.fromkeys(by_size[:1] + by_size[-1:]) if len(by_size) > 1 else ():
        plan[f"only {task}"] = {TASKS: {task: {}}}
    rows = config.product_tower.hash_table_size
    for size in (max(16, rows // 16), rows * 4):
        plan[f"hash table {size:,}"] = {
            f"{tower}_tower.hash_table_size": size for tower in ("product", "pin")
        }
    if config.loss.prefix_weights is None:  # its widest prefix is the embedding
        for width in (max(4, config.embedding_dim // 4), config.embedding_dim * 2):
            plan[f"embedding {width}"] = {"embedding_dim": width}
    return plan


def losses_plan(config: RunConfig, pairs: Mapping[str, int]) -> Plan:
    """The run's own loss, each kind of negatives, and the largest tasks alone.

    Args:
        config: of the run.
        pairs: training pairs of each task; where there are two or more, the four largest get a
            variant `only <task>` each.
    """
    tasks = sorted(pairs, key=lambda task: (-pairs[task], task))
    single = tasks[:MOST_SINGLE_TASKS] if len(tasks) > 1 else []
    return {
        config.loss.mode: {},
        **NEGATIVES,
        **{f"only {task}": {TASKS: {task: {}}} for task in single},
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
    config: RunConfig,
    pairs: Mapping[str, int],
    texts: Mapping[str, Collection[str]],
) -> Plan:
    """A named plan, or one from a YAML file: `variant: {setting: value}`.

    Args:
        name: one of `PLANS`, or a YAML file.
        config: of the run.
        pairs: training pairs of each task that the run trains.
        texts: by entity, the text features that its records have.

    Raises:
        InputError: neither a plan nor a file, or the file is no such mapping; as
            `omnisearchsage_plan`.
    """
    if name == OMNISEARCHSAGE:
        return omnisearchsage_plan(pairs, texts)
    if name == ITEMSAGE:
        return itemsage_plan(config, pairs)
    if name == LOSSES:
        return losses_plan(config, pairs)
    path = Path(name)
    if not path.is_file():
        raise InputError(
            f"--plan must be {', '.join(PLANS)} or a YAML file. Received: {name!r}, which is "
            "neither."
        )
    plan = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not (isinstance(plan, dict) and plan and all(isinstance(v, dict) for v in plan.values())):
        raise InputError(f"A plan maps a variant to its settings. Found in {name}: {plan!r}.")
    return {str(variant): changes for variant, changes in plan.items()}


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


def folder_names(variants: Collection[str]) -> dict[str, str]:
    """Each variant's name as a part of a path: `+ captions` as `captions`.

    Raises:
        InputError: two variants would share a folder, or a name has no letter or digit.
    """
    names: dict[str, str] = {}
    for variant in variants:
        name = re.sub(r"[^\w.]+", "-", variant.replace(",", "")).strip("-._").lower()
        other = next((one for one, taken in names.items() if taken == name), None)
        if not name or other is not None:
            raise InputError(
                "The variants of a plan need names that differ in letters or digits, for their "
                f"folders. Found: {variant!r}" + (f" beside {other!r}." if other else ".")
            )
        names[variant] = name
    return names


def task_groups(tasks: Collection[str]) -> dict[str, list[str]]:
    """All tasks of one kind of query and candidate, pooled: `search/product`, ..."""
    groups: dict[str, list[str]] = {}
    for name in tasks:
        task = Task.parse(name)
        groups.setdefault(f"{task.query_type}/{task.candidate_type}", []).append(name)
    return groups
