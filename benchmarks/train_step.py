"""Speed of a whole training step, beside the same step in PyTorch. One JSON line.

    python benchmarks/train_step.py [--sizes base:1024 ...] [--bfloat16] [--no-parts]

Each size of model and batch runs in processes of its own, this package's and the peer's turn by
turn, so that noise of the machine meets both. Examples are pairs. The batches are synthetic
(`step/batches.py`), the same on both sides; products have 4 images and up to 5 texts. The query
encoder of `paper` is downloaded in use; here it is DistilBERT's shape with random weights.

The peer (`step/twin.py`) is the same model and loss in PyTorch, which is put into build/bench-torch
the first time, from wherever pip is set to look (a CPU build is enough).
Its OpenMP threads wait passively: spinning ones lose most where other processes run too.

`equality`: both sides from the same weights, without dropout, over the same batches. The losses
of the first two steps must agree to 1e-3, or the benchmark fails; those of the others are shown.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from step.environment import make_environment
from step.protocol import Side, running

ROOT = Path(__file__).resolve().parents[1]
STEP = Path(__file__).resolve().parent / "step"
TORCH = "torch==2.13.0"
THREADS = 2
NUM_BATCHES = 4  # different ones, in turn
WARM_UP_STEPS = 3
EQUAL_STEPS, TOLERANCE = 5, 1e-3
TABLES = ("token_embedding/embeddings", "hash_embedding/table", "hash_embedding/importance")
# Size: pairs a step; random negatives as in the preset, `paper`'s as a multiple of the pairs.
DEFAULT_SIZES = ("tiny:256", "tiny:1024", "base:256", "base:1024")  # `paper:256`: minutes more
RANDOM_NEGATIVES = {"tiny": lambda pairs: 256, "base": lambda pairs: 64, "paper": lambda p: 4 * p}


def start(size: str, pairs: int, torch: Path, **changes: Any) -> tuple[Side, Side]:
    """The two processes for one size."""
    settings = {
        "size": size,
        "batch_size": pairs,
        "random_negatives": RANDOM_NEGATIVES[size](pairs),
        "num_batches": NUM_BATCHES,
        "threads": THREADS,
        "dropout": 0.1,
        "precision": "float32",
        **changes,
    }
    ours = Side(Path(sys.executable), STEP / "ours.py", settings)
    twin = Side(torch, STEP / "twin.py", {**settings, "spec": ours.spec})
    for what in ("num_parameters", "checksum"):
        if ours.spec[what] != twin.spec[what]:
            raise RuntimeError(f"{what} differs: {ours.spec[what]} and {twin.spec[what]}.")
    return ours, twin


def check_equality(torch: Path) -> dict[str, Any]:
    """Losses of the first steps of both sides from the same weights."""
    ours, twin = start("tiny", 256, torch, dropout=0.0)
    with running(ours, twin), tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "weights.npz")
        if ours.ask("save_weights", path=path) != twin.ask("load_weights", path=path):
            raise RuntimeError("The twin did not take all of our weights.")
        losses = [side.ask("losses", count=EQUAL_STEPS) for side in (ours, twin)]
    differences = [abs(a - b) for a, b in zip(*losses, strict=True)]
    if max(differences[:2]) > TOLERANCE:
        raise RuntimeError(f"The losses differ: {losses[0]} and {losses[1]}.")
    return {
        "losses": [round(loss, 4) for loss in losses[0]],
        "peer_losses": [round(loss, 4) for loss in losses[1]],
        "largest_difference": round(max(differences), 5),
    }


class Clock:
    """Times of one side, gathered over its turns."""

    def __init__(self, side: Side) -> None:
        self.side, self.seconds, self.processor = side, [], 0.0
        side.ask("steps", count=WARM_UP_STEPS)

    def turn(self, steps: int) -> None:
        before = self.side.ask("usage")
        self.seconds += self.side.ask("steps", count=steps)
        after = self.side.ask("usage")
        self.processor += sum(after.values()) - sum(before.values())

    def result(self, pairs: int, parts: bool) -> dict[str, Any]:
        median = statistics.median(self.seconds)
        values = {
            "examples_per_second": round(pairs / median, 1),
            "best_examples_per_second": round(pairs / min(self.seconds), 1),
            "step_seconds": round(median, 4),
            "processor_seconds_per_step": round(self.processor / len(self.seconds), 4),
            "peak_memory_mb": round(self.side.ask("peak_memory_bytes") / 2**20),
        }
        if parts:
            seconds = self.side.ask("parts", repeats=3)
            total = sum(seconds.values())
            values["shares"] = {part: round(value / total, 3) for part, value in seconds.items()}
            values["parts_seconds"] = {part: round(value, 4) for part, value in seconds.items()}
        return values


def compare(size: str, pairs: int, torch: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Both sides at one size, turn by turn."""
    precision = "mixed_bfloat16" if options.bfloat16 else "float32"
    sides = start(size, pairs, torch, precision=precision)
    with running(*sides):
        sparse = sides[0].ask("sparse_gradients")
        if not all(any(path.endswith(table) for path in sparse) for table in TABLES):
            raise RuntimeError(f"A table has a dense gradient. Sparse: {sparse}.")
        clocks = [Clock(side) for side in sides]
        for _ in range(options.rounds):
            for clock in clocks:
                clock.turn(options.steps)
        ours, peer = (clock.result(pairs, options.parts) for clock in clocks)
        return {
            "size": size,
            "pairs": pairs,
            "random_negatives": RANDOM_NEGATIVES[size](pairs),
            "precision": precision,
            "num_parameters": sides[0].spec["num_parameters"],
            **ours,
            "peer": peer,
            "speedup": round(peer["step_seconds"] / ours["step_seconds"], 2),
            "best_speedup": round(
                ours["best_examples_per_second"] / peer["best_examples_per_second"], 2
            ),
            "processor_speedup": round(
                peer["processor_seconds_per_step"] / ours["processor_seconds_per_step"], 2
            ),
            "sparse_gradients": len(sparse),
            "versions": {key: sides[0].spec[key] for key in ("version", "tensorflow")}
            | {"torch": sides[1].spec["torch"]},
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", nargs="+", default=DEFAULT_SIZES, help="size:pairs ...")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side")
    parser.add_argument("--steps", type=int, default=2, help="steps a turn")
    parser.add_argument("--bfloat16", action="store_true", help="mixed precision, both sides")
    parser.add_argument("--no-parts", dest="parts", action="store_false")
    parser.add_argument("--torch-dir", type=Path, default=ROOT / "build" / "bench-torch")
    options = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    torch = make_environment(options.torch_dir, [TORCH, "numpy"])
    result: dict[str, Any] = {
        "benchmark": "train_step",
        "threads": THREADS,
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
        "equality": check_equality(torch),
        "sizes": [],
    }
    for name in options.sizes:
        size, _, pairs = name.partition(":")
        result["sizes"].append(compare(size, int(pairs or 256), torch, options))
        print(json.dumps(result["sizes"][-1]), file=sys.stderr)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
