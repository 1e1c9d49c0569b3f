"""Exact ranks among a million distractors read from disk: seconds, memory, recall.

    python benchmarks/distractors.py [--size 1000000] [--queries 5000] [--dim 256] [--threads 2]

One JSON line. A catalogue of 50,000 unit vectors (at most a tenth of the size) is held in memory;
the distractors lie in a `.npy` file, which is written first, uncounted, by another process. Each
query has one positive, its own vector with noise so that about half are found among the ten best.

- `rank_seconds`, `queries_per_s`: exact ranks of all positives, for Recall@10, @100 and MRR
  (`rank_cpu_seconds`: of all threads, which says more on a machine that others use too);
- `list_seconds`: exact lists of the ten best;
- `peak_rss_mib`: largest resident set of the process, Python and libraries included
  (`start_rss_mib`); for the scores `[queries, size]` alone it would be `scores_mib`;
- `equal`: ranks of the first queries against a plain float64 product, in blocks of its own.

Aim: `size` 1,000,000, `dim` 256 on 2 cores within 600 s and 4096 MiB in all.
"""

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
K = 10
CHECKED = 20
WRITE_ROWS = 1 << 14


def write_vectors(path: Path, size: int, dim: int) -> None:
    """Unit vectors float32 `[size, dim]` in a `.npy` file."""
    import numpy as np

    random = np.random.default_rng(1)
    file = np.lib.format.open_memmap(path, "w+", np.float32, (size, dim))
    for start in range(0, size, WRITE_ROWS):
        part = random.standard_normal((min(WRITE_ROWS, size - start), dim), np.float32)
        file[start : start + WRITE_ROWS] = part / np.linalg.norm(part, axis=1, keepdims=True)
    file.flush()


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(folder: Path, size: int, num_queries: int, dim: int) -> dict[str, object]:
    import numpy as np

    from tfrs_sage.evaluation import VectorBlocks, metrics_of_ranks, rank_pairs, top_k

    random = np.random.default_rng(0)
    catalogue = random.standard_normal((max(1, min(50_000, size // 10)), dim), np.float32)
    catalogue /= np.linalg.norm(catalogue, axis=1, keepdims=True)
    positive = random.integers(len(catalogue), size=num_queries)
    # The tenth best of n random directions has a cosine of about (sqrt(2 ln n) - 1) / sqrt(dim):
    # so much noise puts the positive's there.
    cosine = min(0.9, float((np.sqrt(2 * np.log(size)) - 1) / np.sqrt(dim)))
    noise = random.standard_normal((num_queries, dim), np.float32) / np.float32(np.sqrt(dim))
    queries = cosine * catalogue[positive] + np.sqrt(1 - cosine**2) * noise
    queries = queries.astype(np.float32)
    distractors = VectorBlocks(folder / "distractors.npy")
    asked = np.arange(num_queries)
    start_rss, start, start_cpu = peak_mib(), time.perf_counter(), time.process_time()
    ranks = rank_pairs(queries, catalogue, asked, positive, distractors)
    ranked, ranked_cpu = time.perf_counter(), time.process_time()
    rows, _ = top_k(queries, catalogue, K, distractors)
    listed = time.perf_counter()
    peak = peak_mib()
    checked = min(CHECKED, num_queries)
    ahead = np.zeros(checked, np.int64)
    wide = queries[:checked].astype(np.float64)
    own = (wide * catalogue[positive[:checked]]).sum(axis=1)
    for block in (catalogue, *distractors):
        scores = wide @ block.T.astype(np.float64)
        ahead += (scores > own[:, None] + 1e-12).sum(axis=1)
    in_list = (rows[:checked] == positive[:checked, None]).any(axis=1)
    equal = (ahead + 1 == ranks[:checked]).all() and (in_list == (ranks[:checked] <= K)).all()
    figures = metrics_of_ranks(ranks, asked, len(catalogue) + distractors.count)
    return {
        "benchmark": "distractors",
        "size": size,
        "catalogue": len(catalogue),
        "dim": dim,
        "queries": num_queries,
        "threads": int(os.environ[THREADS[0]]),
        "rank_seconds": round(ranked - start, 1),
        "rank_cpu_seconds": round(ranked_cpu - start_cpu, 1),
        "queries_per_s": round(num_queries / (ranked - start), 1),
        "list_seconds": round(listed - ranked, 1),
        "peak_rss_mib": round(peak),
        "start_rss_mib": round(start_rss),
        "scores_mib": round(4 * num_queries * figures["index_size"] / 2**20),
        "recall@10": figures["recall@10"],
        "recall@100": figures["recall@100"],
        "mrr": round(figures["mrr"], 4),
        "equal": bool(equal),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=5_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    threads = dict.fromkeys(THREADS, str(given.threads))
    if not os.environ.items() >= threads.items():  # read when numpy is first imported
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **threads})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "distractors.npy"
        writer = multiprocessing.get_context("spawn").Process(
            target=write_vectors, args=(path, given.size, given.dim)
        )
        writer.start()
        writer.join()
        if writer.exitcode:
            sys.exit("the distractors could not be written")
        line = measure(Path(folder), given.size, given.queries, given.dim)
    print(json.dumps(line), flush=True)
    if not line["equal"]:
        sys.exit("ranks differ from those of the float64 product")


if __name__ == "__main__":
    main()
