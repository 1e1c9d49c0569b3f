"""A small run, preprocessed once with several shards, images, vectors and stored n-gram ids."""

import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from beam_pipelines.preprocess import preprocess
from beam_pipelines.records import serialize
from tests.beam_pipelines.tiny_tables import engagement, write_tables
from tfrs_sage.artefacts import file_sha256, fingerprint, read_manifest, write_json
from tfrs_sage.training.assemble import Assembly, assemble
from tfrs_sage.training.config import RunConfig, load_config

import tensorflow as tf  # isort: skip

NUM_PRODUCTS = 40
CLICK, SAVE = "search/product/click", "pin/product/save"
SETTINGS = [
    "embedding_dim=8",
    "loss.sketch_width=64",
    "preprocess.store_ngram_ids=true",
    "preprocess.shard_bytes=20000",
    "preprocess.wordpiece_size=200",
    "training.batch_size=24",
    "training.random_negatives=8",
    "training.shuffle_buffer=32",
]


def config() -> RunConfig:
    return load_config("tiny", None, SETTINGS)


@functools.cache
def small_run() -> Path:
    """The run folder: 40 products with up to 3 images, 4 pins, 60 + 20 training pairs."""
    folder = Path(tempfile.mkdtemp())
    rng = np.random.default_rng(0)
    words = ["red", "blue", "sofa", "bed", "lamp", "oak", "soft"]
    products: list[dict[str, Any]] = [
        {
            "product_id": f"p{n}",
            "title": " ".join(rng.choice(words, 3)),
            "brand": "Ona" if n % 2 else "",
            "image_embeddings": rng.normal(size=(n % 4, 256)).tolist(),
        }
        for n in range(NUM_PRODUCTS)
    ]
    for product in products[:10]:
        product["graph_embedding"] = rng.normal(size=6).tolist()
    pins = [{"pin_id": f"i{n}", "title": f"{words[n]} room"} for n in range(4)]
    rows = [
        engagement("search", f"{words[n % 7]} {words[n % 5]}", f"p{n % 40}", "train")
        for n in range(60)
    ]
    rows += [engagement("pin", f"i{n % 4}", f"p{n}", "train", action="save") for n in range(20)]
    tables = write_tables(folder / "tables", products=products, pins=pins, engagements=rows)
    preprocess(str(tables), str(folder / "run"), config().preprocess, [])
    return folder / "run"


@functools.cache
def small_assembly() -> Assembly:
    return assemble(small_run(), config())


def num_pairs(run: Path) -> dict[str, int]:
    return {n: c["train"] for n, c in read_manifest(run / "examples")["tasks"].items()}


def rewrite(path: Path, records: list[bytes]) -> None:
    """Writes a shard and what its manifest says of it."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    folder = next(parent for parent in path.parents if (parent / "manifest.json").is_file())
    manifest = read_manifest(folder)
    stated = manifest["files"].setdefault(path.relative_to(folder).as_posix(), {})
    size = path.stat().st_size
    stated |= {"records": len(records), "bytes": size, "sha256": file_sha256(path)}
    write_json(folder / "manifest.json", manifest)


def fields_of(serialized: bytes) -> dict[str, bytes]:
    features = tf.train.Example.FromString(serialized).features.feature
    return {name: value.bytes_list.value[0] for name, value in features.items()}


def records_of(path: Path) -> list[bytes]:
    return list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())


def write_mined(run: Path) -> None:
    """Mined pairs as the job writes them: every second one has a product as its negative."""
    examples = read_manifest(run / "examples")
    (run / "mined").mkdir()
    made_from = {"examples": fingerprint(examples["files"]), "files": {}}
    write_json(run / "mined" / "manifest.json", made_from)
    negatives = [
        fields_of(record)
        for path in sorted((run / "catalogue").glob("product-*"))
        for record in records_of(path)
    ]
    for path in sorted((run / "examples" / "train").rglob("*.tfrecord")):
        target = run / "mined" / path.relative_to(run / "examples" / "train")
        target.parent.mkdir(parents=True, exist_ok=True)
        pairs = [fields_of(record) for record in records_of(path)]
        for n, pair in enumerate(pairs):
            if n % 2:
                pair |= {f"negative/{k}": v for k, v in negatives[n % len(negatives)].items()}
        rewrite(target, [serialize(tuple(sorted(pair.items()))) for pair in pairs])
