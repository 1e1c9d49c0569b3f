"""How the training went: loss and accuracy of each task, gradient norm, rate, temperature."""

from collections.abc import Mapping, Sequence
from typing import Any

from tfrs_sage.report.page.charts import Line, line_chart
from tfrs_sage.report.page.material import Absent, Material
from tfrs_sage.report.page.scales import told
from tfrs_sage.report.page.svg import NUM_SERIES, series_key
from tfrs_sage.training.curves import read_curves

MOST_POINTS = 160
# key of a line, title, axis, whether it is logarithmic
WHOLE = (
    ("gradient_norm", "Gradient norm", "norm before clipping", True),
    ("learning_rate", "Learning rate", "rate", False),
    ("temperature", "Temperature", "temperature", False),
    ("pairs_per_second", "Speed", "pairs a second", False),
)

Lines = Sequence[Mapping[str, Any]]


def curves_section(run: Material) -> dict[str, Any] | Absent:
    """Charts over the steps, and first and last loss of every task."""
    lines = read_curves(run.path / "metrics" / "train.jsonl")
    if not lines:
        return Absent("the run has not been trained", run.command("train"))
    pairs = {task: counts.get("train", 0) for task, counts in run.counts.items()}
    tasks = drawn_tasks([key.removesuffix("/loss") for key in lines[-1] if "/loss" in key], pairs)
    charts = [_of_tasks(lines, tasks, what) for what in ("loss", "accuracy")]
    charts += [
        _of_one(lines, key, title, axis, log)
        for key, title, axis, log in WHOLE
        if all(line.get(key, 0) > 0 or not log for line in lines) and key in lines[-1]
    ]
    every = sorted(key.removesuffix("/loss") for key in lines[-1] if key.endswith("/loss"))
    return {
        "charts": charts,
        "legend": [(series_key(number), task) for number, task in enumerate(tasks)],
        "left_out": len(every) - len(tasks),
        "table": [
            {
                "task": task,
                **{what: _ends(lines, f"{task}/{what}") for what in ("loss", "accuracy")},
            }
            for task in every
        ],
        "summary": run.metrics("train"),
    }


def drawn_tasks(tasks: Sequence[str], pairs: Mapping[str, int]) -> list[str]:
    """The tasks that a chart can tell apart: those with most training pairs, in their order."""
    most = sorted(tasks, key=lambda task: (-pairs.get(task, 0), task))[:NUM_SERIES]
    return sorted(most)


def smoothed(values: Sequence[float], most: int = MOST_POINTS) -> tuple[list[int], list[float]]:
    """Means of blocks of values, `most` of them at most, and the last place of each block."""
    size = -(-len(values) // most)
    ends = list(range(size, len(values) + size, size))
    blocks = [values[end - size : end] for end in ends]
    return [min(end, len(values)) - 1 for end in ends], [sum(one) / len(one) for one in blocks]


def _of_tasks(lines: Lines, tasks: Sequence[str], what: str) -> dict[str, Any]:
    drawn = [
        _line(lines, f"{task}/{what}", task, number)
        for number, task in enumerate(tasks)
        if f"{task}/{what}" in lines[-1]
    ]
    title = "Loss" if what == "loss" else "In-batch accuracy"
    ends = "; ".join(f"{one.label} {told(one.ys[0])} to {told(one.ys[-1])}" for one in drawn)
    label = f"{title} of each task over the training steps, first to last: {ends}."
    return {
        "title": title,
        "chart": line_chart(drawn, label, "step", what),
        "caption": f"{title} of each task over the training steps.",
    }


def _of_one(lines: Lines, key: str, title: str, axis: str, log: bool) -> dict[str, Any]:
    line = _line(lines, key, title, 0)
    label = (
        f"{title} over the training steps: {told(line.ys[0])} at first, {told(line.ys[-1])} at "
        f"the end, {told(min(line.ys))} to {told(max(line.ys))} in between."
    )
    chart = line_chart([line], label, "step", axis, log_y=log and min(line.ys) > 0, zero=not log)
    return {"title": title, "chart": chart, "caption": label}


def _line(lines: Lines, key: str, label: str, series: int) -> Line:
    there = [line for line in lines if key in line]
    places, values = smoothed([line[key] for line in there])
    return Line(label, [there[place]["step"] for place in places], values, series)


def _ends(lines: Lines, key: str) -> tuple[float, float] | None:
    values = [line[key] for line in lines if key in line]
    return (values[0], values[-1]) if values else None
