"""A run folder with a catalogue and pairs, written by hand: no training, no towers."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfrs_sage.artefacts import write_json
from tfrs_sage.training.config import RunConfig, load_config, save_config

SEARCH, SIMILAR = "search/product/click", "product/product/click"
COLOURS = ("red", "green", "blue")
KINDS = ("sofa", "lamp", "oak")
# p0 red sofa, p1 red lamp, p2 red oak, p3 green sofa, ...; the ones from p9 on have a brand alone.
TITLES = [f"{colour} {kind}" for colour in COLOURS for kind in KINDS] + [""] * 3
BRANDS = ["Acme", "Acme", "Bolt"] * 4
IDS = [f"p{row:02}" for row in range(len(TITLES))]
WITH_IMAGE = {"p00", "p01", "p04"}

Pairs = Mapping[str, Mapping[str, list[tuple[str, str]]]]
PAIRS: Pairs = {
    SEARCH: {
        "train": [
            ("red", "p00"),
            ("red", "p01"),
            ("seat", "p03"),
            ("seat", "p06"),
            ("wood", "p02"),
        ],
        "test": [("red", "p02"), ("blue sofa", "p06"), ("oak wood or wood", "p05")],
    },
    SIMILAR: {
        "train": [("p04", "p07"), ("p04", "p01")],
        "test": [("p00", "p01"), ("p04", "p10"), ("p09", "p08")],
    },
}


def write_records(path: Path, records: list[Mapping[str, bytes]]) -> None:
    """One shard of `tf.Example` records of byte strings."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(f"{path}-00000-of-00001.tfrecord") as writer:
        for record in records:
            example = tf.train.Example()
            for name, value in record.items():
                example.features.feature[name].bytes_list.value.append(value)
            writer.write(example.SerializeToString())


def write_shop(run: Path, pairs: Pairs = PAIRS, settings: tuple[str, ...] = ()) -> RunConfig:
    """Writes the catalogue, the pairs and the configuration of a run; returns the last."""
    image = np.zeros(256, "<f2").tobytes()
    products = [
        {
            "id": one.encode(),
            **({"title": title.encode()} if title else {}),
            "brand": brand.encode(),
            **({"image_embeddings": image * 2} if one in WITH_IMAGE else {}),
        }
        for one, title, brand in zip(IDS, TITLES, BRANDS, strict=True)
    ]
    write_records(run / "catalogue" / "product", products)
    spec = {"entity": "product", "texts": ["title", "brand"], "max_images": 2, "count": len(IDS)}
    write_json(run / "catalogue" / "manifest.json", {"entities": {"product": spec}})
    for task, splits in pairs.items():
        for split, members in splits.items():
            records = [
                {"query/id": query.encode(), "candidate/id": candidate.encode()}
                for query, candidate in members
            ]
            write_records(run / "examples" / split / task, records)
    counts = {task: {s: len(m) for s, m in splits.items()} for task, splits in pairs.items()}
    write_json(run / "examples" / "manifest.json", {"tasks": counts})
    config = load_config("tiny", None, list(settings))
    save_config(config, run / "config.yaml")
    return config
