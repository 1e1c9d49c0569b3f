"""Time, files and memory of a large `retrieval` export, and what it answers. One JSON line.

    python benchmarks/export_size.py [--size 1000000] [--dim 256] [--kind partitioned] [--out DIR]

Clustered vectors of length 1 are exported with a tiny query tower, whose texts name held-out
queries. The export runs in a process of its own, its round trip included; a second process, with
TensorFlow and TF Text alone, loads the model and answers. Memory is the peak of each process
(`ru_maxrss`). Recall@10 is against exact search, queries a second are over all cores that
TensorFlow takes. The default is small, for a look; the figure of note is that of 1,000,000 x 256,
which must fit 8 GB.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

NUM_QUERIES = 512
PER_CLUSTER = 250
K = 10
BATCHES = (1, 64)
SECONDS = 5.0  # of measuring, a batch size
NOISE = 1.0  # length of a vector's offset from its cluster's centre, which has length 1

Vectors = npt.NDArray[np.float32]


def clustered(size: int, dim: int) -> tuple[Vectors, Vectors]:
    """Candidates float32 `[size, dim]` and held-out queries from the same clusters."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((max(1, size // PER_CLUSTER), dim), np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    vectors = np.empty((size, dim), np.float32)
    queries = np.empty((NUM_QUERIES, dim), np.float32)
    for out in (vectors, queries):
        for start in range(0, len(out), 65_536):  # no second copy of the whole
            part = out[start : start + 65_536]
            part[:] = rng.standard_normal(part.shape, np.float32) * (NOISE / np.sqrt(dim))
            part += centres[rng.integers(len(centres), size=len(part))]
            part /= np.linalg.norm(part, axis=1, keepdims=True)
    return vectors, queries


def peak_gb() -> float:
    """Largest resident memory that this process has had, in GB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2)


def resident_gb() -> float:
    """Resident memory of this process now, in GB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e9, 2)


def export_stage(folder: Path, size: int, dim: int, kind: str) -> dict[str, Any]:
    """Makes the vectors, builds the index, exports; keeps the exact neighbours beside."""
    from tfrs_sage.export.retrieval import export_retrieval
    from tfrs_sage.index import build_index
    from tfrs_sage.index.brute_force import exact_top_k

    import tensorflow as tf  # isort: skip  (after tfrs_sage, which prepares it)
    import tensorflow_text as tf_text  # isort: skip

    vectors, queries = clustered(size, dim)

    class NumberedQueries(tf.Module):
        """The text "7" -> the seventh of the held-out queries."""

        def __init__(self) -> None:
            super().__init__()
            self.queries = tf.Variable(queries, trainable=False)

        def __call__(self, text: Any) -> Any:
            known = tf.strings.regex_full_match(text, "[0-9]+")
            number = tf.where(known, tf_text.case_fold_utf8(text), "0")
            return tf.gather(self.queries, tf.strings.to_number(number, tf.int32))

    np.save(folder / "exact.npy", exact_top_k(vectors, queries, K)[0])
    ids = [f"product-{row}" for row in range(size)]
    start = time.perf_counter()
    index = build_index(vectors, ids, kind)
    built = time.perf_counter()
    texts = [str(row) for row in range(64)]
    path = export_retrieval(NumberedQueries(), vectors, ids, folder, texts, index=index)
    files = sorted(path.rglob("*"))
    shards = [file.stat().st_size for file in files if ".data-" in file.name]
    return {
        "index": index.report,
        "build_s": round(built - start, 1),
        "export_s": round(time.perf_counter() - built, 1),  # saving and the round trip
        "export_peak_gb": peak_gb(),
        "graph_kb": round((path / "saved_model.pb").stat().st_size / 1e3),
        "shards": len(shards),
        "largest_shard_mb": round(max(shards) / 1e6),
        "total_gb": round(sum(file.stat().st_size for file in files if file.is_file()) / 1e9, 2),
    }


def serve_stage(folder: Path) -> dict[str, Any]:
    """Loads the model with nothing of this project, and asks it."""
    import tensorflow as tf
    import tensorflow_text  # noqa: F401

    before = resident_gb()
    start = time.perf_counter()
    model = tf.saved_model.load(str(folder / "retrieval" / "1"))
    result: dict[str, Any] = {
        "load_s": round(time.perf_counter() - start, 1),
        "before_gb": before,
        "loaded_gb": resident_gb(),
        "load_peak_gb": peak_gb(),
        "scann_imported": "scann" in sys.modules,
    }
    search = model.signatures["search"]
    exact = np.load(folder / "exact.npy")
    texts = [str(row) for row in range(NUM_QUERIES)]
    k = tf.constant(K)
    found = search(query=tf.constant(texts), k=k)["product_id"].numpy()
    rows = [[int(name.removeprefix(b"product-")) for name in row] for row in found]
    hits = [len(set(a) & set(b)) for a, b in zip(rows, exact.tolist(), strict=True)]
    result["recall@10"] = round(sum(hits) / (K * NUM_QUERIES), 4)
    for batch in BATCHES:
        calls, start = 0, time.perf_counter()
        while time.perf_counter() - start < SECONDS:
            first = calls * batch % (NUM_QUERIES - batch + 1)
            search(query=tf.constant(texts[first : first + batch]), k=k)
            calls += 1
        seconds = time.perf_counter() - start
        result[f"queries_per_second_batch_{batch}"] = round(calls * batch / seconds, 1)
    for name in ("similar", "recommend"):  # leave what they touch in memory
        more: dict[str, Any] = {"product_id": tf.constant(["product-0"])}
        if name == "recommend":
            width = model.signatures[name].structured_input_signature[1]["embedding"].shape[-1]
            more = {"embedding": tf.ones([1, 3, width]), "weight": tf.ones([1, 3])}
        model.signatures[name](k=k, **more)
    result["serving_peak_gb"] = peak_gb()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=20_000, help="candidates")
    parser.add_argument("--dim", type=int, default=256, help="width of the vectors")
    parser.add_argument("--kind", default="partitioned", help="brute_force, partitioned or auto")
    parser.add_argument("--out", type=Path, help="keep the export here [a temporary folder]")
    parser.add_argument("--stage", choices=["export", "serve"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stage == "export":
        result = export_stage(options.out, options.size, options.dim, options.kind)
    elif options.stage == "serve":
        result = serve_stage(options.out)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            folder = options.out or Path(scratch)
            folder.mkdir(parents=True, exist_ok=True)
            result = {"benchmark": "export_size", "size": options.size, "dim": options.dim}
            for stage in ("export", "serve"):
                command = [sys.executable, __file__, *sys.argv[1:], f"--out={folder}"]
                done = subprocess.run(
                    [*command, f"--stage={stage}"], stdout=subprocess.PIPE, check=True
                )
                result.update(json.loads(done.stdout))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
