"""Versions: whole, checked before they appear, with warm-up, a run's own."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.export.toy import IDS, TEXTS, VECTORS, KeywordTower
from tfrs_sage.artefacts import MANIFEST, write_json
from tfrs_sage.errors import InputError
from tfrs_sage.export import graph, save
from tfrs_sage.export.retrieval import export_retrieval
from tfrs_sage.export.save import BATCHING_FILE, Export, save_versions
from tfrs_sage.export.savedmodel import latest_version, newest_version, run_source, versions
from tfrs_sage.export.warmup import Request, at_batch_sizes, read_warmup


class Affine(tf.Module):
    """`slope * x + 1`, of floats `[n]`."""

    def __init__(self, slope: float, size: int = 1) -> None:
        super().__init__()
        self.slope = tf.Variable(tf.fill([size], slope))

    def export(self, name: str = "affine", **more) -> Export:
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def serving_default(x):
            return {"y": self.slope[:1] * x + 1}

        x = np.arange(1, 6, dtype=np.float32)
        signatures = {"serving_default": serving_default.get_concrete_function()}
        return Export(name, self, signatures, at_batch_sizes("serving_default", {"x": x}), **more)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The folder of two models that were saved and checked together."""
    root = tmp_path_factory.mktemp("models")
    save_versions([Affine(2.0).export("double"), Affine(3.0).export("triple")], root)
    return root


def test_models_are_checked_together_and_appear(two) -> None:
    for name, slope in (("double", 2), ("triple", 3)):
        assert [path.name for path in (two / name).iterdir()] == ["1"]
        model = tf.saved_model.load(str(two / name / "1"))
        answer = model.signatures["serving_default"](x=tf.constant([5.0]))
        assert answer["y"].numpy() == slope * 5 + 1
        manifest = json.loads((two / name / "1" / MANIFEST).read_text())
        assert (manifest["model"], manifest["version"]) == (name, 1)


def test_a_version_that_answers_otherwise_never_appears(tmp_path, monkeypatch) -> None:
    good, bad = Affine(2.0), Affine(2.0)
    exports = [good.export("good"), bad.export("bad")]
    write = save._write

    def forgetful(export, folder, version):
        write(export, folder, version)
        if export.name == "bad":
            bad.slope.assign([7.0])  # memory and file now differ

    monkeypatch.setattr(save, "_write", forgetful)
    with pytest.raises(RuntimeError, match=r"bad/1: .* Found: 3\.0 in place of 8\.0 at \(0,\)"):
        save_versions(exports, tmp_path)
    assert versions(tmp_path / "bad") == versions(tmp_path / "good") == []
    assert not list((tmp_path / "bad").iterdir())  # nor half a version beside


def test_warmup_is_read_by_tf_servings_protos(two) -> None:
    from tensorflow_serving.apis import prediction_log_pb2

    path = two / "double" / "1" / "assets.extra" / "tf_serving_warmup_requests"
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record.numpy())
        for record in tf.data.TFRecordDataset(str(path))
    ]
    assert [log.predict_log.request.model_spec.name for log in logs] == ["double"] * 2
    sizes = [log.predict_log.request.inputs["x"].tensor_shape.dim[0].size for log in logs]
    assert sizes == [1, 5]  # five real rows, and no invented ones up to 8 and 64
    values = tf.make_ndarray(logs[1].predict_log.request.inputs["x"])
    assert values.tolist() == [1, 2, 3, 4, 5]


def test_a_warmup_must_cover_every_signature_and_stay_small(tmp_path) -> None:
    export = Affine(1.0).export()
    none = Export("affine", export.module, export.signatures, [])
    with pytest.raises(InputError, match=r"none for \['serving_default'\] of 'affine'"):
        save_versions([none], tmp_path)
    request = Request("serving_default", {"x": np.zeros(1, np.float32)})
    many = Export("affine", export.module, export.signatures, [request] * 1001)
    with pytest.raises(InputError, match="1 to 1000 requests"):
        save_versions([many], tmp_path)
    assert versions(tmp_path / "affine") == []


def test_warmup_keeps_bytes_as_they_are(tmp_path) -> None:
    class Echo(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="s")])
        def serving_default(self, s):
            return {"length": tf.strings.length(s)}

    rows = np.empty(2, object)
    rows[:] = [b"a\0\0", "grün".encode()]
    echo = Echo()
    signatures = {"serving_default": echo.serving_default.get_concrete_function()}
    warmup = at_batch_sizes("serving_default", {"s": rows})
    path = save_versions([Export("echo", echo, signatures, warmup)], tmp_path, check=False)["echo"]
    assert read_warmup(path)[1].inputs["s"].tolist() == [b"a\0\0", "grün".encode()]


def test_large_variables_lie_in_several_files(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(save, "SHARD_BYTES", 40_000)
    path = save_versions([Affine(2.0, 50_000).export()], tmp_path, check=False)["affine"]
    shards = sorted(path.glob("variables/variables.data-*"))
    assert len(shards) >= 5  # of 200 kB
    assert max(shard.stat().st_size for shard in shards) < 60_000
    model = tf.saved_model.load(str(path))
    answer = model.signatures["serving_default"](x=tf.constant([1.0]))
    assert answer["y"].numpy().tolist() == [3.0]


def test_data_in_constants_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(graph, "MAX_CONSTANT_BYTES", 2000)

    class Baked(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def serving_default(self, x):
            return {"y": x + tf.reduce_sum(tf.constant(np.arange(1000, dtype=np.float32)))}

    baked = Baked()
    signatures = {"serving_default": baked.serving_default.get_concrete_function()}
    warmup = [Request("serving_default", {"x": np.zeros(1, np.float32)})]
    with pytest.raises(RuntimeError, match=r"Keep such data in a tf\.Variable"):
        save_versions([Export("baked", baked, signatures, warmup)], tmp_path)
    assert versions(tmp_path / "baked") == []


def test_only_models_whose_calls_can_be_joined_are_batched(two, tmp_path) -> None:
    assert (two / "double" / "1" / BATCHING_FILE).is_file()
    path = export_retrieval(KeywordTower(tmp_path), VECTORS, IDS, tmp_path, TEXTS, check=False)
    assert not (path / BATCHING_FILE).exists()  # `k` has no batch axis


def test_versions_count_up_and_say_what_they_are(tmp_path) -> None:
    root = tmp_path / "models"
    assert versions(root / "retrieval") == []
    with pytest.raises(InputError, match="Export the model 'retrieval' first"):
        latest_version(root, "retrieval")
    for number in (1, 2):
        path = export_retrieval(
            KeywordTower(tmp_path), VECTORS, IDS, root, TEXTS, manifest={"run": "r"}, check=False
        )
        assert path == root / "retrieval" / str(number) == latest_version(root, "retrieval")
    assert sorted(p.name for p in (root / "retrieval").iterdir()) == ["1", "2"]
    manifest = json.loads((path / MANIFEST).read_text())
    assert manifest["count"] == 6 and manifest["dimension"] == 4 and manifest["run"] == "r"
    assert manifest["index"]["kind"] == "brute_force"
    assert manifest["signatures"] == ["recommend", "search", "serving_default", "similar"]


def test_a_run_reads_its_own_newest_version(tmp_path) -> None:
    runs = {}
    for name, fingerprint in (("a", "f1"), ("b", "f2")):
        runs[name] = tmp_path / name
        write_json(runs[name] / "checkpoints" / "step-3" / MANIFEST, {"fingerprint": fingerprint})
    root = tmp_path / "models"
    for number, run in enumerate("abab", start=1):
        write_json(root / "m" / str(number) / MANIFEST, run_source(runs[run]))
    (root / "m" / "7").mkdir()  # another program's, without a manifest
    assert latest_version(root, "m").name == "7"
    assert latest_version(root, "m", run_source(runs["a"])).name == "3"
    assert latest_version(root, "m", run_source(runs["b"])).name == "4"
    assert newest_version(root, "m", {"fingerprint": "f3"}) is None
    with pytest.raises(InputError, match=r"\(fingerprint f3\)\. Found: versions \[1, 2, 3, 4, 7\]"):
        latest_version(root, "m", {"fingerprint": "f3"})
    assert run_source(tmp_path) == {}
