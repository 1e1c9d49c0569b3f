"""The loss against the numbers of the official implementation: losses, logs and gradients.

`make golden GOLDEN_DIR=folder` runs these tests over another folder of files.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfrs_sage.losses import CountMinSketch, Negatives, log_q, retrieval_losses

GOLDEN_DIR = Path(os.environ.get("GOLDEN_DIR") or Path(__file__).parent)
FILES = sorted(GOLDEN_DIR.glob("softmax_*.npz"))
# Prefix and weight of each term of the matryoshka file.
PREFIXES = {16: 0.05, 32: 0.05, 64: 1.0}
OUR_NAME = {"in_batch": "in_batch", "rnd_neg": "random", "mixed_concat": "mixed_concat"}


def test_the_folder_holds_golden_files() -> None:
    assert FILES, f"no softmax_*.npz in {GOLDEN_DIR}"


def mode_of(path: Path) -> str:
    name = path.stem.removeprefix("softmax_")
    if name == "matryoshka":
        return "mixed_sum"
    return name.removesuffix("_weighted").removesuffix("_uncorrected")


def normalised_prefix(vectors: tf.Tensor, dim: int) -> tf.Tensor:
    return tf.math.l2_normalize(vectors[:, :dim], axis=1)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_losses_and_gradients(path: Path) -> None:
    golden = np.load(path)
    mode, corrected = mode_of(path), "uncorrected" not in path.stem
    sketches = {name: CountMinSketch(width=2**20) for name in ("pair", "query", "batch", "random")}
    num_steps = sum(1 for key in golden if key.endswith("_total"))
    assert num_steps >= 1
    for step in range(num_steps):
        check_step(golden, f"step{step}_", mode, corrected, sketches, "matryoshka" in path.stem)


def check_step(golden, prefix, mode, corrected, sketches, matryoshka) -> None:
    def get(name):
        key = prefix + name
        return tf.constant(golden[key]) if key in golden else None

    query_ids, positive_ids, negative_ids = (
        get(name) for name in ("query_id", "positive_id", "negative_id")
    )
    sketches["pair"].update(positive_ids + 17 * query_ids)
    sketches["query"].update(query_ids)
    sketches["batch"].update(positive_ids)
    sketches["random"].update(negative_ids)
    log_p = tf.math.log(
        tf.cast(sketches["pair"](positive_ids + 17 * query_ids), tf.float32)
        / tf.cast(sketches["query"](query_ids), tf.float32)
    )
    counts = {
        "batch": (sketches["batch"](positive_ids), sketches["batch"].total.value),
        "random": (sketches["random"](negative_ids), sketches["random"].total.value),
    }
    np.testing.assert_allclose(log_p, get("log_p_positive_given_query"), atol=1e-5)
    for name, key in (("batch", "log_q_in_batch"), ("random", "log_q_random")):
        if get(key) is not None:
            np.testing.assert_allclose(log_q(*counts[name]), get(key), atol=1e-5)

    variables = [tf.Variable(get(n)) for n in ("query", "positive", "random_negative")]
    log_scale = tf.Variable(golden["log_scale"])
    with tf.GradientTape() as tape:
        query, positive, random = variables
        named = {}
        for dim, weight in PREFIXES.items() if matryoshka else [(None, 1.0)]:
            cut = (lambda v, d=dim: normalised_prefix(v, d)) if matryoshka else (lambda v: v)
            terms = retrieval_losses(
                mode,
                cut(query),
                cut(positive),
                query_ids,
                positive_ids,
                log_scale,
                Negatives(
                    cut(positive), positive_ids, query_ids, *(counts["batch"] if corrected else ())
                ),
                Negatives(
                    cut(random), negative_ids, None, *(counts["random"] if corrected else ())
                ),
                log_p=log_p if corrected else None,
                weights=get("weight"),
            )
            label = f"{dim}_" if matryoshka else ""
            named.update({label + name: weight * value for name, value in terms.items()})
        total = tf.add_n(list(named.values()))
    for theirs, ours in OUR_NAME.items():
        for dim in PREFIXES if matryoshka else [""]:
            label = f"{dim}_" if matryoshka else ""
            expected = get(f"loss_{label}{theirs}")
            if expected is not None:
                np.testing.assert_allclose(named[label + ours], expected, atol=1e-5)
    np.testing.assert_allclose(total, get("total"), atol=1e-5)
    gradients = tape.gradient(total, [*variables, log_scale], unconnected_gradients="zero")
    keys = ("grad_query", "grad_positive", "grad_random_negative", "grad_log_scale")
    for gradient, key in zip(gradients, keys, strict=True):
        if get(key) is not None:
            np.testing.assert_allclose(gradient, get(key), atol=1e-5, err_msg=prefix + key)
