"""The embedding job over an arithmetic tower, from records to the arrays that an index takes."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest

import tfrs_sage  # noqa: F401  (before TensorFlow)

import tensorflow as tf  # isort: skip
import apache_beam as beam
from apache_beam.testing.test_pipeline import TestPipeline as BeamPipeline
from apache_beam.testing.util import assert_that, equal_to

from beam_pipelines.embed import EmbedRecords, embed, run
from beam_pipelines.local_runner import pipeline_options
from beam_pipelines.model_handler import KeyByRecordId, SavedModelHandler
from tfrs_sage.artefacts import model_fingerprint
from tfrs_sage.errors import InputError
from tfrs_sage.index import build_index, read_embeddings


class LengthTower(tf.Module):
    """Embeds a record as (bytes of its title, bytes of its id, scale)."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = tf.Variable(scale)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serving_tf_example(self, examples):
        parsed = tf.io.parse_example(
            examples,
            {
                "id": tf.io.FixedLenFeature([], tf.string),
                "title": tf.io.FixedLenFeature([], tf.string, default_value=""),
            },
        )
        lengths = [tf.cast(tf.strings.length(parsed[k]), tf.float32) for k in ("title", "id")]
        return {"embedding": tf.stack([*lengths, tf.ones_like(lengths[0]) * self.scale], axis=1)}


def _record(record_id: str, title: str | None) -> bytes:
    values = {"id": record_id, **({} if title is None else {"title": title})}
    features = {
        key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))
        for key, value in values.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


RECORDS = {"p10": "red", "grün": None, "b": "blue sofa", "a": ""}
EXPECTED = {"a": [0, 1, 1], "b": [9, 1, 1], "grün": [0, 5, 1], "p10": [3, 3, 1]}


def _save(folder, scale: float = 1.0):
    tower = LengthTower(scale)
    tf.saved_model.save(
        tower, str(folder), signatures={"serving_tf_example": tower.serving_tf_example}
    )
    return folder


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return _save(tmp_path_factory.mktemp("tower") / "1")


@pytest.fixture
def run_dir(tmp_path):
    (tmp_path / "catalogue").mkdir()
    items = list(RECORDS.items())
    for shard, part in enumerate((items[:3], items[3:])):
        path = tmp_path / "catalogue" / f"product-{shard:05d}-of-00002.tfrecord"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for record_id, title in part:
                writer.write(_record(record_id, title))
    return tmp_path


def test_embeddings_are_keyed_by_the_records_id(model_dir) -> None:
    expected = [{"id": key, "embedding": value} for key, value in EXPECTED.items()]
    with BeamPipeline(options=pipeline_options([])) as p:
        records = p | beam.Create([_record(key, title) for key, title in RECORDS.items()])
        assert_that(records | EmbedRecords(str(model_dir)), equal_to(expected))


def test_job_writes_what_an_index_reads(run_dir, model_dir) -> None:
    for _ in range(2):  # the second run replaces the first
        manifest = embed(run_dir, "product", model_dir)
    assert manifest == {
        "entity": "product",
        "dimension": 3,
        "count": 4,
        "model_fingerprint": model_fingerprint(model_dir),
    }
    folder = run_dir / "embeddings" / "product"
    assert json.loads((folder / "manifest.json").read_text()) == manifest
    ids, vectors = read_embeddings(folder)
    assert dict(zip(ids, vectors.tolist(), strict=True)) == EXPECTED
    assert [p.name for p in folder.parent.iterdir()] == ["product"]
    assert build_index(vectors, ids).search([[1, 0, 0]], 1)[0].tolist() == [["b"]]


def test_command_line(run_dir, model_dir) -> None:
    options = ["--run_dir", str(run_dir), "--entity", "product", "--model_dir", str(model_dir)]
    assert run([*options, "--direct_num_workers=1"])["count"] == 4
    refused = subprocess.run(
        [sys.executable, "-m", "beam_pipelines.embed", *options[:3], "pin", *options[4:]],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert refused.returncode == 2
    assert "must hold pin-*.tfrecord" in refused.stderr


def test_bad_input_leaves_what_was_there(run_dir, model_dir, tmp_path) -> None:
    embed(run_dir, "product", model_dir)
    diverged = _save(tmp_path / "diverged", scale=float("nan"))
    with pytest.raises(InputError, match=r"must be finite\. Found: NaN or infinity for"):
        embed(run_dir, "product", diverged)
    assert len(read_embeddings(run_dir / "embeddings" / "product")[0]) == 4
    with pytest.raises(InputError, match=r"no saved_model\.pb"):
        embed(run_dir, "product", tmp_path)


def test_handler_and_key(model_dir) -> None:
    handler = pickle.loads(pickle.dumps(SavedModelHandler(str(model_dir))))
    batch = [_record(key, title) for key, title in RECORDS.items()]
    embeddings = handler.run_inference(batch, handler.load_model())
    assert [e.tolist() for e in embeddings] == [EXPECTED[key] for key in RECORDS]
    assert all(e.dtype == np.float32 for e in embeddings)
    with pytest.raises(ValueError, match=r"signature 'nope'\. Found: \['serving_tf_example'\]"):
        SavedModelHandler(str(model_dir), "nope").load_model()
    with pytest.raises(ValueError, match="one non-empty `id`"):
        list(KeyByRecordId().process(tf.train.Example().SerializeToString()))


def test_tells_how_far_it_is(run_dir, model_dir, monkeypatch, caplog) -> None:
    monkeypatch.setattr("beam_pipelines.model_handler.SECONDS_BETWEEN_LINES", 0.0)
    with caplog.at_level("INFO", "beam_pipelines"):
        embed(run_dir, "product", model_dir)
    assert caplog.messages[-1].startswith("embedded 4 records, ")


def test_fingerprint_follows_the_weights(model_dir, tmp_path) -> None:
    assert len(model_fingerprint(model_dir)) == 16
    assert model_fingerprint(_save(tmp_path / "other", scale=2.0)) != model_fingerprint(model_dir)
