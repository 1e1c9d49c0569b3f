"""The hash-embedding bag against the numbers of the official implementation."""

import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfrs_sage.layers.hash_embedding import HashEmbeddingBag

GOLDEN_DIR = Path(os.environ.get("GOLDEN_DIR") or Path(__file__).parent)


@pytest.mark.parametrize(
    "path", sorted(GOLDEN_DIR.glob("hash_embedding*.npz")), ids=lambda p: p.stem
)
def test_bags(path: Path) -> None:
    golden = np.load(path)
    table, importance = golden["table"], golden["importance"]
    layer = HashEmbeddingBag(
        vocabulary_size=len(importance),
        dim=table.shape[1],
        table_size=len(table),
        num_hashes=importance.shape[1],
        epsilon=float(golden["layernorm_eps"]),
    )
    layer.build((None,), (None,))
    layer.hash_functions = golden["hash_params_a_b_p_n"]
    layer.table.assign(table)
    layer.importance.assign(importance)
    layer.norm.set_weights([golden["layernorm_gamma"], golden["layernorm_beta"]])
    lengths = np.diff([*golden["row_offsets"], len(golden["ids"])])
    output = layer(tf.constant(golden["ids"], tf.int32), tf.constant(lengths, tf.int32))
    np.testing.assert_allclose(output, golden["output"], atol=1e-5)
