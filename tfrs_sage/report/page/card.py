"""The model card: what the model is, was trained on, is good for, and where its limits are."""

import platform
from importlib.metadata import version
from typing import Any

import yaml

from tfrs_sage.report.page.checks_section import grouped
from tfrs_sage.report.page.figures_section import TOLD, best_baseline, named_figures, verdict
from tfrs_sage.report.page.material import Material
from tfrs_sage.training.checkpoints import latest_checkpoint

PACKAGES = (
    "tfrs-sage",
    "tensorflow",
    "keras",
    "keras-hub",
    "tensorflow-recommenders",
    "tensorflow-text",
    "numpy",
)
RARE_FIELD = 0.5  # a field that fewer products have is told as a limit


def card_facts(run: Material, warnings: list[str]) -> dict[str, Any]:
    """What both renderings of the card show.

    Args:
        run: the run.
        warnings: of the data checks.
    """
    checkpoint = latest_checkpoint(run.path / "checkpoints")
    config = run.config
    named = named_figures(run)
    return {
        "name": run.path.resolve().name,
        "split": run.split,
        "dimension": config.embedding_dim,
        "preset": config.query_tower.preset and str(config.query_tower.preset),
        "fusion": config.product_tower.fusion,
        "entities": {name: spec for name, spec in run.specs.items()},
        "tasks": run.counts,
        "trained": config.training.tasks,
        "checkpoint": checkpoint.name if checkpoint else None,
        "training": run.metrics("train"),
        "versions": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
        "config": yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False),
        "results": [
            {
                "task": name,
                "figures": {key: one[key] for key in TOLD if key in one},
                "intervals": one["intervals"],
                "queries": one["num_queries"],
                "pairs": one["num_pairs"],
                "candidates": one["index_size"],
                "verdict": verdict(one),
                "baseline": best_baseline(one)[0],
                "baseline_value": best_baseline(one)[1]["recall@10"],
            }
            for name, one in named.items()
        ],
        "limits": grouped(limits(run, warnings), list(run.counts)),
        "evaluated": bool(named),
    }


def limits(run: Material, warnings: list[str]) -> list[str]:
    """Sentences that a user must know, each with its number."""
    found = list(warnings)
    for name, one in named_figures(run).items():
        if not verdict(one).startswith("above"):
            best = best_baseline(one)[1]["recall@10"]
            found.append(f"{name}: Recall@10 {one['recall@10']:.3f} is {verdict(one)} ({best:.3f})")
        found += _weak_slices(name, one)
    for entity in ("product", "pin"):
        if entity not in run.specs:
            continue
        fields = run.texts.fields(entity)
        count = max(1, len(fields.rows))
        with_image = int((fields.num_images > 0).sum())
        if with_image < RARE_FIELD * count:
            found.append(
                f"{with_image:,} of {count:,} {entity}s ({with_image / count:.1%}) have an image: "
                "what was learned of images was learned from these"
            )
    if not run.evaluation:
        found.append(f"the {run.split} split was not evaluated: nothing is known of its quality")
    return found


def _weak_slices(name: str, figures: Any) -> list[str]:
    """Labels whose interval lies below that of all pairs."""
    low = figures["intervals"]["recall@10"][0]
    return [
        f"{name}: {what.replace('_', ' ')} ({label}): Recall@10 {one['recall@10']:.3f} of "
        f"{one['num_pairs']} pairs, {figures['recall@10']:.3f} over all"
        for what, labels in figures.get("slices", {}).items()
        for label, one in labels.items()
        if one["intervals"]["recall@10"][1] < low
    ]


def head(facts: dict[str, Any]) -> str:
    """The card's YAML head, with the figures where Hugging Face's hub looks for them."""
    results = [
        {
            "task": {"type": "retrieval", "name": one["task"]},
            "dataset": {
                "name": f"{facts['name']}, {facts['split']} split",
                "type": "custom",
                "split": facts["split"],
            },
            "metrics": [
                {
                    "type": key.replace("@", "_at_"),
                    "name": key,
                    "value": round(value, 4),
                    "interval_95": [round(end, 4) for end in one["intervals"][key]],
                }
                for key, value in one["figures"].items()
            ],
        }
        for one in facts["results"]
    ]
    values: dict[str, Any] = {
        "library_name": "tfrs-sage",
        "pipeline_tag": "sentence-similarity",
        "tags": ["retrieval", "embeddings", "recommendation", "two-tower", "tensorflow", "keras"],
    }
    if facts["preset"]:
        values["base_model"] = facts["preset"]
    if results:
        values["model-index"] = [{"name": facts["name"], "results": results}]
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
