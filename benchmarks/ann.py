"""Queries a second at a recall, beside ScaNN, hnswlib, faiss and voyager. One JSON line.

    python benchmarks/ann.py [--size 1000000] [--dimension 100] [--only partitioned hnswlib ...]
    python benchmarks/ann.py --vectors embeddings.npy

Vectors are clustered (`neighbours/data.py`), or 1,000 rows of FILE are taken out as queries. Every
contestant builds in one process and searches in another, on one core and one thread: its settings
are swept, and the fastest that reaches a recall@10 of 0.90, 0.95 and 0.99 is given, for a batch
of all queries and for queries one by one. `ratios` are at 0.95. `scann_through_index` is ScaNN as
this package's `Index` asks it, `scann` the same searcher by itself.

The peers come into build/bench-ann the first time, from wherever pip is set to look. The full
size takes about 25 minutes, most of it the two HNSW graphs, and 4 GB; `--size 50000` one minute.
With `--work DIR` data and indices stay, and what is there already is not built again: build once,
then measure as often as the machine is quiet.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

import numpy as np
from neighbours.contest import BUILD_THREADS, RECALLS, WHERE, K
from neighbours.data import clustered

from tfrs_sage.index.brute_force import exact_top_k

ROOT = Path(__file__).resolve().parents[1]
SIDES = Path(__file__).resolve().parent / "neighbours"
PEERS = ("numpy", "hnswlib==0.8.0", "faiss-cpu==1.15.1", "voyager==2.2.3")
NUM_QUERIES = 1000
# Pairs of contestants, the first's speed over the second's.
RATIOS = (
    ("partitioned", "brute_force"),
    ("partitioned", "faiss_flat"),
    ("partitioned", "faiss_ivf"),
    ("partitioned", "hnswlib"),
    ("partitioned", "voyager"),
    ("partitioned", "scann"),
    ("scann_through_index", "scann"),
)


def make_peers(folder: Path) -> Path:
    """The Python of an environment with the peers; made where it is not there yet."""
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if not ready.exists() or ready.read_text() != " ".join(PEERS):
        print(f"installing {', '.join(PEERS)} into {folder}", file=sys.stderr)
        venv.create(folder, clear=True, with_pip=True)
        command = [str(python), "-m", "pip", "install", "-q", *PEERS]
        subprocess.run(command, check=True, stdout=sys.stderr)
        ready.write_text(" ".join(PEERS))
    return python


def data_in(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Vectors, queries and their exact neighbours, as files; says what they are."""
    asked = {name: str(getattr(options, name)) for name in ("size", "dimension", "vectors", "seed")}
    kept = folder / "data.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text())
        if found["asked"] != asked:
            sys.exit(f"{folder} holds the data of {found['asked']}, not of {asked}: name another.")
        return found["data"]
    data = write_data(options, folder)
    kept.write_text(json.dumps({"asked": asked, "data": data}))
    return data


def write_data(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    if options.vectors:
        rows = np.load(options.vectors).astype(np.float32)
        chosen = np.random.default_rng(options.seed).choice(len(rows), NUM_QUERIES, replace=False)
        queries, vectors = rows[chosen], np.delete(rows, chosen, axis=0)
    else:
        vectors, queries = clustered(options.size, NUM_QUERIES, options.dimension, options.seed)
    start = time.perf_counter()
    truth, _ = exact_top_k(vectors, queries, K)
    print(f"exact neighbours: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    for name, array in (("vectors", vectors), ("queries", queries), ("truth", truth)):
        np.save(folder / f"{name}.npy", array)
    what = options.vectors.name if options.vectors else f"clustered, seed {options.seed}"
    return {"what": what, "count": len(vectors), "dimension": int(vectors.shape[1])}


def step(name: str, folder: Path, peers: Path, threads: int, *flags: str) -> dict[str, Any]:
    """One contestant's building or measuring, in a process of its own."""
    print(f"{name} {' '.join(flags)}", file=sys.stderr, flush=True)
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, str(threads)), "TF_CPP_MIN_LOG_LEVEL": "3"}
    python = Path(sys.executable) if WHERE[name] == "ours" else peers
    command = [str(python), str(SIDES / "contest.py"), str(folder), name, *flags]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def built(name: str, folder: Path, peers: Path) -> dict[str, Any]:
    """How long the building of a contestant took, now or when it was built into `folder`."""
    kept = folder / name / "built.json"
    if not kept.exists():
        kept.write_text(json.dumps(step(name, folder, peers, BUILD_THREADS, "--build-only")))
    found: dict[str, Any] = json.loads(kept.read_text())
    return found


def ratios(found: dict[str, Any], key: str, speed: str) -> dict[str, float]:
    """Speeds at recall 0.95 of the pairs of which both reach it."""

    def at(name: str) -> float | None:
        best = found.get(name, {}).get(key, {}).get("0.95")
        return best[speed] if best else None

    pairs = ((one, other, at(one), at(other)) for one, other in RATIOS)
    return {f"{one} / {other}": round(a / b, 3) for one, other, a, b in pairs if a and b}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=100)
    parser.add_argument("--vectors", type=Path, help="a .npy file of float [n, d]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=WHERE, default=list(WHERE))
    parser.add_argument("--peers-dir", type=Path, default=ROOT / "build" / "bench-ann")
    parser.add_argument("--work", type=Path, help="keep data and indices here [a temporary folder]")
    parser.add_argument("--build-only", action="store_true", help="with --work: build what is not")
    options = parser.parse_args()
    peers = make_peers(options.peers_dir)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.work or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        result = {
            "benchmark": "ann",
            "data": data_in(folder, options),
            "num_queries": NUM_QUERIES,
            "k": K,
            "recalls": RECALLS,
            "threads": {"build": BUILD_THREADS, "search": 1},
            "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
        }
        found = {}
        for name in options.only:
            found[name] = built(name, folder, peers)
            if not options.build_only:
                found[name] |= step(name, folder, peers, 1)
            print(json.dumps({name: found[name]}), file=sys.stderr, flush=True)
    result["ratios_at_0.95"] = {
        "batch": ratios(found, "at_recall", "queries_per_second"),
        "one_by_one": ratios(found, "one_by_one_at_recall", "one_by_one_per_second"),
    }
    print(json.dumps({**result, "contestants": found}))


if __name__ == "__main__":
    main()
