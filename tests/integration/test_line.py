"""The whole line as a user runs it: tables in, answers over gRPC out."""

import json
import signal
import subprocess
import sys

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tfrs_sage.cli.main import main
from tfrs_sage.cli.run_folder import STEPS

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def trained(preprocessed, tmp_path_factory):
    """The run folder after `tfrs-sage run`, and what it printed as JSON."""
    settings = [f"--set={s}" for s in ("training.steps=6", "training.batch_size=64")]
    folder = tmp_path_factory.mktemp("line") / "run"
    arguments = ["run", "--input", preprocessed.input, "--dir", str(folder), "--preset", "tiny"]
    command = [sys.executable, "-m", "tfrs_sage.cli", *arguments, *settings, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def test_every_step_is_done_and_every_task_evaluated(trained) -> None:
    folder, result = trained
    assert set(STEPS) <= set(result)
    tasks = result["evaluation"]["tasks"]
    assert "search/product/click" in tasks
    for figures in tasks.values():
        assert 0.0 <= figures["recall@10"] <= figures["recall@100"] <= 1.0
        assert figures["num_pairs"] > 0
    models = {path.name for path in (folder / "saved_models").iterdir()}
    expected = {"query_tower", "product_tower", "pin_tower", "retrieval", "retrieval_scann"}
    assert models == expected


def test_done_steps_are_skipped(trained, capsys) -> None:
    folder, _ = trained
    state = json.loads((folder / "steps.json").read_text())
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.npz")}
    arguments = ["--set=training.steps=6", "--set=training.batch_size=64", "--preset=tiny"]
    assert main(["run", f"--input={state['input']}", f"--dir={folder}", *arguments, "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"evaluation"}
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.npz")} == before


def test_both_retrieval_exports_find_what_brute_force_finds(trained) -> None:
    import scann  # noqa: F401  (registers the ops)

    from tfrs_sage.export.savedmodel import latest_version

    folder, _ = trained
    query = tf.constant(["red sofa", "oak desk", "mug"])
    found = {}
    for name in ("retrieval", "retrieval_scann"):
        model = tf.saved_model.load(str(latest_version(folder / "saved_models", name)))
        found[name] = model.signatures["search"](query=query, k=tf.constant(5))["product_id"]
    np.testing.assert_array_equal(found["retrieval"], found["retrieval_scann"])


def test_raw_features_and_records_give_the_same_embedding(trained) -> None:
    from tfrs_sage.export.savedmodel import latest_version
    from tfrs_sage.schema.features import EntitySpec
    from tfrs_sage.towers.features import parse_records

    folder, _ = trained
    model = tf.saved_model.load(str(latest_version(folder / "saved_models", "product_tower")))
    manifest = json.loads((folder / "examples" / "manifest.json").read_text())
    spec = EntitySpec.from_json(manifest["entities"]["product"])
    files = sorted(str(path) for path in (folder / "catalogue").glob("product-*"))
    records = next(iter(tf.data.TFRecordDataset(files).batch(8)))
    raw = parse_records(records, spec)
    _, inputs = model.signatures["serving_default"].structured_input_signature
    given = {
        name: raw[name] if name in raw else tf.fill([8], "")
        for name in inputs
        if name != "image_embeddings"
    }
    slots = tf.shape(raw["image_embeddings"])[1]
    images = tf.cast(raw["image_embeddings"], tf.float32)
    given["image_embeddings"] = tf.pad(images, [[0, 0], [0, 20 - slots], [0, 0]])
    np.testing.assert_allclose(
        model.signatures["serving_default"](**given)["embedding"],
        model.signatures["serving_tf_example"](examples=records)["embedding"],
        atol=1e-5,
    )


def test_a_smaller_query_tower_is_exported_when_recall_holds(trained, capsys) -> None:
    folder, _ = trained
    models = folder / "saved_models"
    before = {path: path.stat().st_mtime_ns for path in models.glob("*/*")}
    export = ["export", f"--dir={folder}", "--json"]
    assert main([*export, "--query-weights=int8", "--recall-loss=1"]) == 0
    exported = json.loads(capsys.readouterr().out)
    manifest = json.loads((models / "query_tower" / "2" / "manifest.json").read_text())
    assert exported["query_tower"].endswith("query_tower/2")
    assert exported["retrieval"].endswith("retrieval/2")
    assert exported["product_tower"].endswith("product_tower/1")
    assert manifest["weights"] == "int8"
    recall = manifest["recall"]
    assert recall["cosine_mean"] > 0.99 and recall["index_size"] > 0
    assert 0 <= recall["recall@10"] <= 1
    found = {}
    for version in ("1", "2"):
        tower = tf.saved_model.load(str(models / "query_tower" / version))
        answer = tower.signatures["serving_default"](query=tf.constant(["red sofa"]))
        found[version] = answer["embedding"].numpy()[0]
    assert 0.99 < found["1"] @ found["2"] < 1 - 1e-7
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_serve_answers_the_stubs_of_tensorflow_serving(trained, capsys) -> None:
    folder, _ = trained
    assert main(["query", "red sofa", f"--dir={folder}", "-k", "3", "--json"]) == 0
    expected = [one["product_id"] for one in json.loads(capsys.readouterr().out)["answers"]]
    command = [sys.executable, "-m", "tfrs_sage.cli", "serve", "--dir", str(folder), "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        address = wait_for_address(server)
        with grpc.insecure_channel(address) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            request = predict_pb2.PredictRequest()
            request.model_spec.name = "retrieval"
            request.inputs["query"].CopyFrom(tf.make_tensor_proto(["red sofa"]))
            request.inputs["k"].CopyFrom(tf.make_tensor_proto(3))
            reply = stub.Predict(request, timeout=60)
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 0
    answer = tf.make_ndarray(reply.outputs["product_id"])[0]
    assert [value.decode() for value in answer] == expected


def wait_for_address(server: subprocess.Popen) -> str:
    for line in server.stderr:
        if "serving on" in line:
            return line.split("serving on", 1)[1].split()[0].rstrip(":")
    raise AssertionError(f"the server ended with {server.wait()} before it was ready")
