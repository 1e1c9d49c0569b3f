"""A run folder by hand, as if it were preprocessed, trained and embedded."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import tfrs_sage  # noqa: F401  (before TensorFlow)

import tensorflow as tf  # isort: skip

from beam_pipelines.records import prefixed, serialize
from tfrs_sage.artefacts import write_json

Pairs = dict[str, list[tuple[str, str]]]  # by split/task
Vectors = dict[str, dict[str, np.ndarray]]  # by entity, then id


def write_file(path: Path, records: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(serialize(record))


def write_embeddings(folder: Path, vectors: dict[str, np.ndarray]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    width = len(next(iter(vectors.values())))
    rows = [[float(x) for x in vector] for vector in vectors.values()]
    columns = {
        "id": pa.array(list(vectors)),
        "embedding": pa.array(rows, pa.list_(pa.float32(), width)),
    }
    pq.write_table(pa.table(columns), folder / "part-00000-of-00001.parquet")
    known = {"dimension": width, "count": len(vectors), "model_fingerprint": "f" * 16}
    write_json(folder / "manifest.json", {"entity": folder.name, **known})


def entity_record(one: str) -> Any:
    return (("id", one.encode()), ("title", f"title of {one}".encode()), ("x_embedding", b"\0<"))


def write_run(folder: Path, pairs: Pairs, vectors: Vectors) -> Path:
    """What mining reads of a run: examples, catalogue, embeddings."""
    for entity, some in vectors.items():
        records = [entity_record(one) for one in some]
        write_file(folder / "catalogue" / f"{entity}-00000-of-00001.tfrecord", records)
        write_embeddings(folder / "embeddings" / entity, some)
    tasks: dict[str, dict[str, int]] = defaultdict(dict)
    files = {}
    for name, some in pairs.items():
        split, task = name.split("/", 1)
        tasks[task][split] = len(some)
        files[f"{name}-00000-of-00001.tfrecord"] = {"records": len(some)}
        records = [
            prefixed(entity_record(query), "query/")
            + prefixed(entity_record(candidate), "candidate/")
            for query, candidate in some
        ]
        write_file(folder / "examples" / f"{name}-00000-of-00001.tfrecord", records)
    described = {"schema_hash": "s", "config": {"shard_bytes": 2**20}, "tasks": tasks}
    write_json(folder / "examples" / "manifest.json", {**described, "files": files})
    return folder
