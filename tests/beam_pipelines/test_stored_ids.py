"""N-gram ids in the records: exactly what the vocabulary gives, and bound to it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beam_pipelines.preprocess import preprocess
from tests.beam_pipelines.conftest import CONFIG
from tests.beam_pipelines.reading import all_bytes, read_records
from tfrs_sage.artefacts import read_manifest
from tfrs_sage.schema.features import EntitySpec
from tfrs_sage.text import NgramVocabulary
from tfrs_sage.towers.features import EntityFeatures, parse_records

import tensorflow as tf  # isort: skip

Run = tuple[Path, dict[str, Any]]
STORED = CONFIG.model_copy(update={"store_ngram_ids": True})


@pytest.fixture(scope="module")
def stored_run(clean_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("stored") / "run"
    preprocess(str(clean_run[0].parent / "tables"), str(run), STORED, [])
    return run


def without_ids(record: dict[str, bytes]) -> dict[str, bytes]:
    return {name: value for name, value in record.items() if not name.endswith("/ngrams")}


def test_records_gain_the_ids_and_nothing_else(clean_run: Run, stored_run: Path) -> None:
    for pattern in ("catalogue/*.tfrecord", "examples/*/*/*/*.tfrecord"):
        plain, stored = (read_records(run, pattern) for run in (clean_run[0], stored_run))
        assert [without_ids(record) for record in stored] == plain
    plain, stored = (all_bytes(run / "vocabulary") for run in (clean_run[0], stored_run))
    assert plain == stored
    products = {r["id"]: r for r in read_records(stored_run, "catalogue/product-*")}
    # By hand: red is 1, sofa 2, red#sofa 4; "Ona" was seen once, so it has no id.
    ids = np.frombuffer(products[b"p1"]["title/ngrams"], "<u4")
    assert ids[:3].tolist() == [1, 2, 4]
    assert "brand/ngrams" not in products[b"p1"]
    assert products[b"p4"] == {"id": b"p4"}
    (query, *_) = read_records(stored_run, "catalogue/query-*")
    assert set(query) == {"id", "text"}


def test_stored_ids_give_what_the_tokenizer_gives(stored_run: Path) -> None:
    manifest = read_manifest(stored_run / "examples")
    vocabulary = NgramVocabulary(stored_run / "vocabulary")
    for entity, side, pattern in (
        ("product", "", "catalogue/product-*"),
        ("pin", "query/", "examples/train/pin/product/click-*"),
        ("product", "candidate/", "examples/train/pin/product/click-*"),
    ):
        spec = EntitySpec.from_json(manifest["entities"][entity])
        files = [str(path) for path in stored_run.glob(pattern)]
        (serialized,) = tf.data.TFRecordDataset(files).batch(100)
        features = EntityFeatures(spec, vocabulary)
        looked_up = features(parse_records(serialized, spec, side))
        stored = features(parse_records(serialized, spec, side, stored_ngrams=True))
        assert stored.keys() == looked_up.keys()
        for name in ("text_tokens", "text_lengths"):
            assert stored[name].dtype == looked_up[name].dtype
            np.testing.assert_array_equal(stored[name], looked_up[name], err_msg=name)
        assert len(stored["text_tokens"]) > 0


def test_the_manifests_bind_the_ids_to_the_vocabulary(clean_run: Run, stored_run: Path) -> None:
    expected = read_manifest(stored_run / "vocabulary")["ngram_vocabulary"]
    for room in ("catalogue", "examples"):
        manifest = read_manifest(stored_run / room)
        bound = {e: s["ngram_vocabulary"] for e, s in manifest["entities"].items()}
        assert bound == {"product": expected, "pin": expected, "query": None}
        assert manifest["schema_hash"] == read_manifest(clean_run[0] / room)["schema_hash"]


@pytest.mark.integration
def test_two_processes_write_the_same_ids(clean_run: Run, stored_run: Path, tmp_path: Path) -> None:
    workers = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    preprocess(str(clean_run[0].parent / "tables"), str(tmp_path / "run"), STORED, workers)
    assert all_bytes(tmp_path / "run") == all_bytes(stored_run)
