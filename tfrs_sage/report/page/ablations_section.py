"""What each part of the model gives: the ablations that were run."""

import json
from collections.abc import Mapping
from typing import Any

from tfrs_sage.report.ablation import columns
from tfrs_sage.report.page.charts import Row, interval_rows
from tfrs_sage.report.page.material import Absent, Material

MAIN = "recall@10"


def ablations_section(run: Material) -> dict[str, Any] | Absent:
    """A chart and a table of differences for each plan and column."""
    paths = sorted((run.path / "metrics").glob("ablation-*.json"))
    if not paths:
        return Absent("no ablation was run", run.command("ablate", "--plan", "losses"))
    return {"plans": [_plan(json.loads(path.read_text(encoding="utf-8"))) for path in paths]}


def _plan(found: Mapping[str, Any]) -> dict[str, Any]:
    variants = found["variants"]
    charts = []
    for kind, name in columns(variants):
        cells = {variant: one[kind][name] for variant, one in variants.items() if name in one[kind]}
        rows = [
            Row(variant, cell[MAIN], cell["interval"][0], cell["interval"][1], min(place, 1))
            for place, (variant, cell) in enumerate(cells.items())
        ]
        label = (
            f"Recall@10 of {name} by variant of the plan {found['plan']}, with 95% intervals: "
            + ", ".join(f"{row.label} {row.told}" for row in rows)
            + ". The first is the reference."
        )
        compared = [_compared(variant, cell) for variant, cell in cells.items()]
        chart = interval_rows(rows, label)
        charts.append({"name": name, "chart": chart, "compared": compared})
    return {
        "name": found["plan"],
        "split": found["split"],
        "charts": charts,
        "seeds": found["seeds"],
        "seconds": {name: one["train_seconds"] for name, one in variants.items()},
        "steps": {name: one["steps"] for name, one in variants.items()},
    }


def _compared(variant: str, cell: Mapping[str, Any]) -> dict[str, Any]:
    """A variant's line of the table."""
    return {"variant": variant, "std": cell["std"], "against": cell.get("against_reference")}
