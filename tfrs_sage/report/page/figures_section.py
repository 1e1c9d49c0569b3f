"""How good the run is: figures with intervals, beside the baselines; by slice; by prefix."""

from collections.abc import Mapping
from typing import Any

from tfrs_sage.report.page.charts import Line, Row, interval_rows, line_chart
from tfrs_sage.report.page.material import Absent, Material
from tfrs_sage.report.page.svg import series_key

MAIN = "recall@10"
TOLD = ("recall@10", "recall@100", "hit_rate@10", "ndcg@10", "mrr")
# Name in the figures, name in the page; the order is that of the marks.
RANKINGS = {
    "model": "model",
    "pretrained": "pretrained encoder",
    "bm25": "BM25",
    "cooccurrence": "co-occurrence",
    "popular": "most popular",
    "random": "random",
}
EVALUATE_ALL = ("--baselines", "--slice", "all", "--lists")

Figures = Mapping[str, Any]


def evaluate_command(run: Material) -> str:
    """The command that makes everything these sections show."""
    return run.command("evaluate", "--split", run.split, *EVALUATE_ALL)


def named_figures(run: Material) -> dict[str, Figures]:
    """Figures of every task and group of tasks, those of most queries first."""
    found = run.evaluation
    every: dict[str, Figures] = {**found.get("groups", {}), **found.get("tasks", {})}
    return dict(sorted(every.items(), key=lambda item: -item[1]["num_queries"]))


def figures_section(run: Material) -> dict[str, Any] | Absent:
    """A chart a task: the model and every baseline with its interval; and the tables."""
    named = named_figures(run)
    if not named:
        return Absent(f"the run was not evaluated on the {run.split} split", evaluate_command(run))
    complete = any("bm25" in one for one in named.values())
    return {
        "tasks": [_beside(name, one) for name, one in named.items()],
        "rows": [
            {
                "task": name,
                "cells": [_cell(one, key) for key in TOLD],
                "pairs": one["num_pairs"],
                "queries": one["num_queries"],
                "candidates": one["index_size"],
                "column": one.get("column"),
            }
            for name, one in named.items()
        ],
        "figures": TOLD,
        "judgments": run.evaluation.get("judgments"),
        "distractors": run.evaluation.get("distractors"),
        "lists": {name: one["lists"] for name, one in named.items() if "lists" in one},
        "missing": None if complete else evaluate_command(run),
    }


def rankings_of(figures: Figures) -> dict[str, Figures]:
    """The model and the baselines that a task has figures of, by the name in the page."""
    every = {"model": figures, **{key: figures[key] for key in RANKINGS if key in figures}}
    return {RANKINGS[key]: one for key, one in every.items()}


def best_baseline(figures: Figures) -> tuple[str, Figures]:
    """The baseline of the highest `MAIN`: its name in the page, its figures."""
    others = {name: one for name, one in rankings_of(figures).items() if name != "model"}
    return max(others.items(), key=lambda item: item[1][MAIN])


def verdict(figures: Figures) -> str:
    """How the model stands to the best baseline, in words; only apart where no interval meets."""
    name, best = best_baseline(figures)
    low, high = figures["intervals"][MAIN]
    other_low, other_high = best.get("intervals", {}).get(MAIN, (best[MAIN], best[MAIN]))
    if low > other_high:
        return f"above {name}"
    if high < other_low:
        return f"below {name}"
    return f"not clearly apart from {name}"


def row_of(label: str, figures: Figures, series: int, key: str = MAIN) -> Row:
    """A figure and its interval as a row of a chart."""
    low, high = figures.get("intervals", {}).get(key, (None, None))
    return Row(label, figures[key], low, high, series)


def _beside(name: str, figures: Figures) -> dict[str, Any]:
    places = {shown: place for place, shown in enumerate(RANKINGS.values())}
    rankings = rankings_of(figures)
    rows = [row_of(shown, one, places[shown]) for shown, one in rankings.items()]
    label = (
        f"Recall@10 of {name} with 95% intervals: "
        + ", ".join(f"{row.label} {row.told}" for row in rows)
        + f". The model is {verdict(figures)}."
    )
    caption = f"Recall@10 with 95% intervals. The model is {verdict(figures)}."
    return {"name": name, "chart": interval_rows(rows, label), "caption": caption}


def _cell(figures: Figures, key: str) -> dict[str, Any] | None:
    if key not in figures:
        return None
    return {"value": figures[key], "interval": figures["intervals"].get(key)}


def slices_section(run: Material) -> dict[str, Any] | Absent:
    """A chart a task and slice: Recall@10 of each label, beside that of all pairs."""
    named = {name: one for name, one in named_figures(run).items() if "slices" in one}
    if not named:
        return Absent("the evaluation told no slices apart", evaluate_command(run))
    return {
        "tasks": [
            {
                "name": name,
                "slices": [
                    _slice(name, what, labels, figures)
                    for what, labels in figures["slices"].items()
                    if labels
                ],
            }
            for name, figures in named.items()
        ]
    }


def _slice(name: str, what: str, labels: Mapping[str, Figures], whole: Figures) -> dict[str, Any]:
    rows = [row_of(f"{shown} · {one['num_pairs']:,}", one, 1) for shown, one in labels.items()]
    rows.append(row_of(f"all · {whole['num_pairs']:,}", whole, 0))
    worst = min(labels.items(), key=lambda item: item[1][MAIN])
    best = max(labels.items(), key=lambda item: item[1][MAIN])
    label = (
        f"Recall@10 of {name} by {what.replace('_', ' ')}, with 95% intervals and the number of "
        f"pairs: lowest for {worst[0]} ({worst[1][MAIN]:.3f}), highest for {best[0]} "
        f"({best[1][MAIN]:.3f}), {whole[MAIN]:.3f} over all."
    )
    return {
        "name": what.replace("_", " "),
        "chart": interval_rows(rows, label),
        "caption": label,
    }


def prefixes_section(run: Material) -> dict[str, Any] | Absent:
    """Recall@10 and Recall@100 over the width of the prefix, a chart a task."""
    named = {name: one for name, one in named_figures(run).items() if one.get("prefixes")}
    if not named:
        return Absent(
            "no prefixes were evaluated; a training with loss.prefix_weights makes them good",
            run.command("evaluate", "--split", run.split, "--prefix", "32", "--prefix", "64"),
        )
    return {
        "tasks": [_prefixes(name, one) for name, one in named.items()],
        "legend": [(series_key(0), "Recall@10"), (series_key(1), "Recall@100")],
        "trained": run.config.loss.prefix_weights is not None,
    }


def _prefixes(name: str, figures: Figures) -> dict[str, Any]:
    widths = sorted(map(int, figures["prefixes"]))
    found = [figures["prefixes"][str(width)] for width in widths]
    lines = [
        Line(
            key,
            widths,
            [one[key] for one in found],
            series,
            [one["intervals"][key][0] for one in found],
            [one["intervals"][key][1] for one in found],
        )
        for series, key in enumerate(("recall@10", "recall@100"))
    ]
    first, last = found[0], found[-1]
    label = (
        f"Recall of {name} by the number of first components that are kept, with 95% bands: "
        f"Recall@10 {first[MAIN]:.3f} with {widths[0]}, {last[MAIN]:.3f} with {widths[-1]}."
    )
    chart = line_chart(lines, label, "components", "recall", log_x=True, zero=True)
    return {"name": name, "chart": chart, "caption": label}
