"""The curves of a training: lines in a file, scalars for TensorBoard, a picture."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf


class Curves:
    """Writes `metrics/train.jsonl`, `tensorboard/` and `metrics/train.png` of a run.

    Args:
        run_dir: the run folder.
        start: int, the step that the training goes on from: lines of later steps, of a training
            that was stopped after its last checkpoint, are written again.
    """

    def __init__(self, run_dir: Path, start: int) -> None:
        self.path = run_dir / "metrics" / "train.jsonl"
        self.picture = run_dir / "metrics" / "train.png"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line in read_curves(self.path) if line["step"] <= start]
        self.path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        self._writer = tf.summary.create_file_writer(str(run_dir / "tensorboard"))

    def write(self, line: Mapping[str, Any]) -> None:
        """Adds one line; `step` is its place, every other number a curve."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        with self._writer.as_default(step=line["step"]):
            for key, value in line.items():
                if key != "step":
                    tf.summary.scalar(key, value)

    def close(self) -> None:
        """Flushes the scalars and draws the picture."""
        self._writer.close()
        lines = read_curves(self.path)
        if lines:
            draw_curves(lines, self.picture)


def read_curves(path: Path) -> list[dict[str, Any]]:
    """The lines of a run, oldest first; none where it has not been trained."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def draw_curves(lines: list[dict[str, Any]], path: Path) -> None:
    """Loss, in-batch accuracy and gradient norm over the steps, a line for each task."""
    from matplotlib.figure import Figure

    steps = [line["step"] for line in lines]
    tasks = sorted(key.removesuffix("/loss") for key in lines[-1] if key.endswith("/loss"))
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    panels = figure.subplots(1, 3)
    for panel, what in zip(panels[:2], ("loss", "accuracy"), strict=True):
        for i, task in enumerate(tasks):
            values = [line.get(f"{task}/{what}") for line in lines]
            style = ("-", "--", ":", "-.")[i // 10 % 4]
            panel.plot(steps, values, style, label=task)
        panel.set(title=what, xlabel="step")
    panels[2].plot(steps, [line["gradient_norm"] for line in lines], color="black")
    panels[2].set(title="gradient norm", xlabel="step", yscale="log")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.savefig(path, dpi=110)
