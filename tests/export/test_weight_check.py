"""Smaller weights are taken when recall holds, and refused when it does not."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.beam_pipelines.embedded_run import write_run
from tfrs_sage.artefacts import model_fingerprint
from tfrs_sage.errors import InputError
from tfrs_sage.export.weight_check import check_recall, check_same, embed_texts, held_out_pairs

# 40 products on a circle; query q3 is at product p3.
ANGLES = np.linspace(0, 2 * np.pi, 40, endpoint=False)
CIRCLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1).astype(np.float32)
PAIRS = [(f"q{number}", f"p{number}") for number in range(40)]


def turned(degrees: float):
    """A tower that is off by an angle: products are 9 degrees apart."""
    angle = np.radians(degrees)
    turn = np.float32([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])

    def tower(query):
        numbers = tf.strings.to_number(tf.strings.substr(query, 1, 2), tf.int32)
        return tf.gather(tf.constant(CIRCLE @ turn), numbers)

    return tower


@pytest.fixture
def run(tmp_path):
    """A run with 40 held-out searches, and the folder of its product tower."""
    vectors = {f"p{number}": CIRCLE[number] for number in range(40)}
    pairs = {"validation/search/product/click": PAIRS, "train/search/product/click": PAIRS}
    folder = write_run(tmp_path / "run", pairs, {"product": vectors})
    tower = tmp_path / "product_tower"
    tower.mkdir()
    (tower / "saved_model.pb").write_bytes(b"weights")
    manifest = folder / "embeddings" / "product" / "manifest.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**content, "model_fingerprint": model_fingerprint(tower)}))
    return folder, tower


def test_recall_and_cosine_are_stated(run) -> None:
    report = check_recall(*run, turned(0), turned(3), 0.005)
    assert report == {
        "split": "validation",
        "num_queries": 40,
        "num_pairs": 40,
        "index_size": 40,
        "recall@10": 1.0,
        "trained_recall@10": 1.0,
        "cosine_mean": pytest.approx(np.cos(np.radians(3)), abs=1e-6),
        "cosine_least": pytest.approx(np.cos(np.radians(3)), abs=1e-6),
    }


def test_ruined_weights_are_refused_unless_told(run) -> None:
    ruined = turned(60)  # the product is the 13th nearest
    with pytest.raises(
        RuntimeError, match=r"may lose 0\.005 .* 1\.0000 lost, from 1\.0000 to 0\.0000 .*40 pairs"
    ):
        check_recall(*run, turned(0), ruined, 0.005)
    assert check_recall(*run, turned(0), ruined, 1.0)["recall@10"] == 0.0
    assert check_recall(*run, ruined, turned(0), 0.005)["recall@10"] == 1.0  # better is no loss


def test_embeddings_of_another_tower_are_refused(run) -> None:
    folder, tower = run
    (tower / "saved_model.pb").write_bytes(b"other weights")
    with pytest.raises(InputError, match="model_fingerprint"):
        check_recall(folder, tower, turned(0), turned(0), 0.005)


def test_held_out_searches(run, tmp_path) -> None:
    assert held_out_pairs(run[0]) == ("validation", *map(list, zip(*PAIRS, strict=True)))
    pairs = {"test/search/product/click": PAIRS[:3], "validation/pin/product/save": PAIRS}
    other = write_run(tmp_path / "other", pairs, {"product": {"p0": CIRCLE[0]}})
    assert held_out_pairs(other) == ("test", ["q0", "q1", "q2"], ["p0", "p1", "p2"])
    none = write_run(tmp_path / "none", {"train/search/product/click": PAIRS}, {})
    with pytest.raises(InputError, match=r"held-out searches .* Found: none"):
        held_out_pairs(none)


def test_equal_towers_pass_and_the_worst_text_is_named() -> None:
    texts = [f"q{number}" for number in range(40)]
    check_same(turned(0), turned(1), texts)
    with pytest.raises(RuntimeError, match=r"cosine 0\.999 or more\. Found: 0\.9962 for 'q0'"):
        check_same(turned(0), turned(5), texts[:1])
    with pytest.raises(RuntimeError, match="Found: nan"):
        check_same(turned(0), lambda query: turned(0)(query) * np.nan, texts)
    np.testing.assert_array_equal(embed_texts(turned(0), texts), CIRCLE)
