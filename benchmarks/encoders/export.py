"""Exports the query tower of an encoder in several formats, and its head for the peers.

    python export.py ENCODER FOLDER FORMAT...

The encoder's folder is in the format of Hugging Face. The head is untrained, as its numbers make no
difference to the time; the peers get the same.
"""

import sys
from pathlib import Path
from typing import get_args

import numpy as np

import tfrs_sage

import keras  # isort: skip

from tfrs_sage.export.query_tower import ExportedQueryTower
from tfrs_sage.export.save import Export, save_versions
from tfrs_sage.export.stored_weights import WeightFormat
from tfrs_sage.export.warmup import at_batch_sizes
from tfrs_sage.towers import QueryTokenizer, QueryTower, QueryTowerConfig, build_backbone
from tfrs_sage.towers.features import QueryFeatures

DIMENSION = 256


def main(encoder: str, folder: Path, formats: list[WeightFormat]) -> None:
    print(f"tfrs-sage {tfrs_sage.__version__}", file=sys.stderr)
    keras.utils.set_random_seed(0)
    config = QueryTowerConfig(preset=encoder)
    tower = QueryTower(build_backbone(config, 0), config, DIMENSION)
    assert tower.head is not None
    kernel, bias = tower.head.weights
    np.savez(folder / "head.npz", kernel=kernel, bias=bias)
    features = QueryFeatures(QueryTokenizer(config))
    texts = np.array([b"red sofa"], object)
    for format in formats:
        module = ExportedQueryTower(tower, features, format)
        signatures = {"serving_default": module.signatures()["serving_default"]}
        warmup = at_batch_sizes("serving_default", {"query": texts})
        save_versions([Export(format, module, signatures, warmup)], folder, check=False)


if __name__ == "__main__":
    main(
        sys.argv[1],
        Path(sys.argv[2]),
        [one for one in sys.argv[3:] if one in get_args(WeightFormat)],
    )
