"""Ablations: variants of a run, each trained equally long, as one table."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tfrs_sage.errors import InputError
from tfrs_sage.schema.features import Task

logger = logging.getLogger(__name__)

Plan = Mapping[str, Mapping[str, Any]]  # settings by the variant's name

# ItemSage section 5.4 (modalities) and 5.3 (fusion); the first variant is the reference.
PLANS: Mapping[str, Plan] = {
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
    },
}


def read_plan(name: str) -> Plan:
    """A named plan, or one from a YAML file: `variant: {setting: value}`.

    Raises:
        InputError: neither a plan nor a file, or the file is no such mapping.
    """
    if name in PLANS:
        return PLANS[name]
    path = Path(name)
    if not path.is_file():
        raise InputError(
            f"--plan must be {', '.join(PLANS)} or a YAML file. Received: {name!r}, which is "
            "neither."
        )
    plan = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(plan, dict) or not all(isinstance(v, dict) for v in plan.values()):
        raise InputError(f"A plan maps a variant to its settings. Found in {name}: {plan!r}.")
    return plan


def task_groups(tasks: Sequence[str]) -> dict[str, list[str]]:
    """All tasks of one kind of query and candidate, pooled: `search/product`, ..."""
    groups: dict[str, list[str]] = {}
    for name in tasks:
        task = Task.parse(name)
        groups.setdefault(f"{task.query_type}/{task.candidate_type}", []).append(name)
    return groups


def summarise(results: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Mean and spread over the seeds of each variant's Recall@10, by group of tasks.

    Args:
        results: the `groups` of `evaluate_run` for each seed, by variant.

    Returns:
        By variant and group: `recall@10` (mean), `std` over the seeds (0 for one), `num_seeds`.
    """
    summary: dict[str, Any] = {}
    for variant, seeds in results.items():
        summary[variant] = {}
        for group in seeds[0]:
            values = [figures[group]["recall@10"] for figures in seeds]
            summary[variant][group] = {
                "recall@10": float(np.mean(values)),
                "std": float(np.std(values)),
                "num_seeds": len(values),
            }
    return summary
