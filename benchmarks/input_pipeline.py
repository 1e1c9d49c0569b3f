"""Product records to tower inputs through tf.data, beside a map over single records. One JSON line.

    python benchmarks/input_pipeline.py

An example is the record of one product: 4 images of 256 float16 and 5 texts, its n-grams looked up
on the fly or read from the record. Each rate is that of a process of its own, pinned to one or two
cores. The machine may have other work: `per_cpu_second` divides by the CPU time that the process
took, all its threads together, `per_second` by the wall clock.

The peer reads the same records as tutorials do, one `tf.io.parse_single_example` a record.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import tfrs_sage
from tfrs_sage.schema.features import EntitySpec

WORDS = {"title": 8, "description": 12, "product_type": 3, "brand": 1, "color": 1}
SPEC = EntitySpec("product", tuple(WORDS), max_images=4)
NUM_RECORDS = 8192
BATCH = 512
REPEATS = 7
FILES = {"tokenised": "plain.tfrecord", "stored": "stored.tfrecord"}


def write_data(folder: Path) -> dict[str, float]:
    """Writes the records with and without ids, and their vocabulary; what a record holds."""
    import tensorflow as tf

    from beam_pipelines.records import serialize
    from tfrs_sage.text import NgramVocabulary, ngram_tokens

    rng, draw = random.Random(0), np.random.default_rng(0)
    words = [
        "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9)))
        for _ in range(20_000)
    ]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    records = [
        {name: " ".join(rng.choices(words, weights, k=k)).encode() for name, k in WORDS.items()}
        for _ in range(NUM_RECORDS)
    ]
    texts = [text for record in records for text in record.values()]
    for kind, ragged in ngram_tokens(texts).items():
        tokens = Counter(ragged.flat_values.numpy().tolist())
        kept = [token for token, count in tokens.most_common() if count > 1]
        (folder / f"{kind}.txt").write_bytes(b"\n".join(kept) + b"\n")
    ids = NgramVocabulary(folder)(texts)
    numbers = iter(np.split(ids.values.numpy().astype("<u4"), ids.row_splits.numpy()[1:-1]))
    sizes = dict.fromkeys(FILES, 0)
    with (
        tf.io.TFRecordWriter(str(folder / FILES["tokenised"])) as plain,
        tf.io.TFRecordWriter(str(folder / FILES["stored"])) as stored,
    ):
        for n, record in enumerate(records):
            images = draw.normal(size=(4, 256)).astype("<f2").tobytes()
            fields = {"id": b"p%d" % n, **record, "image_embeddings": images}
            plain.write(serialize(tuple(fields.items())))
            fields |= {f"{name}/ngrams": next(numbers).tobytes() for name in record}
            stored.write(serialize(tuple(fields.items())))
    sizes = {f"bytes_{kind}": (folder / name).stat().st_size for kind, name in FILES.items()}
    return {"ids": ids.values.shape[0], **sizes}


def pipelines(folder: Path, kind: str, cores: int) -> dict[str, Any]:
    """The data set of ours and of the peer; batches of the same content."""
    import tensorflow as tf

    from tfrs_sage.text import NgramVocabulary
    from tfrs_sage.towers.features import EntityFeatures, id_fingerprint, parse_records

    vocabulary = NgramVocabulary(folder)
    features = EntityFeatures(SPEC, vocabulary)
    options = tf.data.Options()
    options.threading.private_threadpool_size = cores
    options.threading.max_intra_op_parallelism = 1
    records = tf.data.TFRecordDataset(str(folder / FILES[kind])).with_options(options)

    def batched(serialized: Any) -> Any:
        raw = parse_records(serialized, SPEC, stored_ngrams=kind == "stored")
        return {**features(raw), "id": id_fingerprint(raw["id"])}

    suffix = "/ngrams" if kind == "stored" else ""
    fields = {
        name: tf.io.FixedLenFeature([], tf.string, "")
        for name in ("id", "image_embeddings", *(text + suffix for text in SPEC.texts))
    }

    def single(serialized: Any) -> Any:
        parsed = tf.io.parse_single_example(serialized, fields)
        images = tf.reshape(tf.io.decode_raw(parsed["image_embeddings"], tf.float16), [4, 256])
        texts = [parsed[text + suffix] for text in SPEC.texts]
        if kind == "stored":
            ids = tf.ragged.stack([tf.io.decode_raw(text, tf.int32) for text in texts])
        else:
            ids = vocabulary(tf.stack(texts))
        return {"id": parsed["id"], "images": tf.cast(images, tf.float32), "ids": ids}

    return {
        "ours": records.batch(BATCH).map(batched, num_parallel_calls=cores).prefetch(2),
        "peer": records.map(single, num_parallel_calls=cores).ragged_batch(BATCH).prefetch(2),
    }


def rates(data: Any) -> dict[str, int]:
    """Examples per second of the wall clock and of CPU time, the best of several passes."""
    wall, cpu = [], []
    for _ in range(REPEATS + 1):  # the first one warms up
        start, busy = time.perf_counter(), time.process_time()
        for _batch in data:
            pass
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - busy)
    return {
        "per_second": round(NUM_RECORDS / min(wall[1:])),
        "per_cpu_second": round(NUM_RECORDS / min(cpu[1:])),
    }


def measure(folder: Path, kind: str, who: str, cores: int) -> dict[str, int]:
    """The rates of a fresh process on that many cores."""
    command = [sys.executable, __file__, str(folder), kind, who, str(cores)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, int] = json.loads(done.stdout)
    return result


def main() -> None:
    usable = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        held = write_data(folder)
        result: dict[str, Any] = {
            "benchmark": "input_pipeline",
            "version": tfrs_sage.__version__,
            "example": "a product record: 4 images of 256 float16, 5 texts",
            "words_per_text": list(WORDS.values()),
            "ids_per_example": round(held["ids"] / NUM_RECORDS, 1),
            "batch": BATCH,
            "peer": "tf.data map of parse_single_example",
        }
        for kind in FILES:
            one = {who: measure(folder, kind, who, 1) for who in ("ours", "peer")}
            result[kind] = {
                "bytes_per_example": round(held[f"bytes_{kind}"] / NUM_RECORDS),
                "one_core": one["ours"],
                "peer_one_core": one["peer"],
                "ratio": round(one["ours"]["per_cpu_second"] / one["peer"]["per_cpu_second"], 1),
            }
            if len(usable) > 1:
                result[kind]["two_cores"] = measure(folder, kind, "ours", 2)
    print(json.dumps(result))


if __name__ == "__main__":
    if len(sys.argv) == 5:
        _, path, records, which, count = sys.argv
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(count)])
        print(json.dumps(rates(pipelines(Path(path), records, int(count))[which])))
    else:
        main()
