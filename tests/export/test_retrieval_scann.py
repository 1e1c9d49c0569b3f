"""`retrieval_scann`: the answers of `retrieval`, on ops that a stock server lacks."""

import json

import numpy as np
import pytest

from tests.export.toy import IDS, VECTORS, KeywordTower
from tfrs_sage.export import retrieval_scann
from tfrs_sage.export.check import check_ops
from tfrs_sage.export.retrieval import retrieval_module
from tfrs_sage.export.retrieval_scann import ScannRetrieval, export_retrieval_scann
from tfrs_sage.index import build_index, scann_index
from tfrs_sage.index.scann_index import ScannParameters

pytest.importorskip("scann", reason="ScaNN has no wheel for this platform")

import tensorflow as tf


def _ids(answer) -> list[list[str]]:
    return [[i.decode() for i in row] for row in answer["product_id"].numpy()]


def _clustered(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(20, 4))
    vectors = centres[rng.integers(20, size=count)] + 0.3 * rng.normal(size=(count, 4))
    # Of length 1, as all embeddings of the towers are.
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("f4")


def test_planted_answers_survive_a_fresh_process(tmp_path) -> None:
    path = export_retrieval_scann(
        KeywordTower(tmp_path), VECTORS, IDS, tmp_path / "models", probe_queries=["Red sofa"]
    )
    report = check_ops(path)
    assert "Scann>ScannSearchBatched" in report.missing
    assert "lacks Scann>" in report.explain() and "export `retrieval`" in report.explain()
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["recall"] == {"@6": 1.0} and manifest["recall_target"] == 0.95

    model = tf.saved_model.load(str(path))
    search, similar, recommend = (
        model.signatures[name] for name in ("search", "similar", "recommend")
    )
    answer = search(query=tf.constant(["RED sofa"]), k=tf.constant(1))
    assert _ids(answer) == [["red sofa"]] and answer["score"].numpy().tolist() == [[6]]
    assert len(_ids(search(query=tf.constant(["blue"]), k=tf.constant(50)))[0]) == 6
    answer = similar(product_id=tf.constant(["dull red"]), k=tf.constant(2))
    assert _ids(answer) == [["red chair", "red sofa"]]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"unknown product_id:\] \[nope\]"):
        similar(product_id=tf.constant(["nope"]), k=tf.constant(2))
    users = tf.constant([[[0.0, 1, 0, 0], [0, 0, 0, 1]]])
    answer = recommend(embedding=users, weight=tf.constant([[0.5, 1]]), k=tf.constant(3))
    assert _ids(answer) == [["sofa", "red sofa", "grün"]]  # "red sofa" is near both: once
    assert answer["score"].numpy().tolist() == [[4, 3, 2]]


@pytest.mark.parametrize(("count", "partition_from"), [(3000, 10_000), (6000, 2000)])
def test_same_ids_as_brute_force_within_the_recall(
    count: int, partition_from: int, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(scann_index, "BRUTE_FORCE_BELOW", 200)
    monkeypatch.setattr(scann_index, "PARTITION_FROM", partition_from)
    vectors = _clustered(count)
    ids = [f"p{i}" for i in range(count)]
    with retrieval_module(KeywordTower(tmp_path), vectors, ids, ScannRetrieval) as module:
        found = module.tune(vectors, recall_target=0.95)
        assert found.worst >= 0.95
        assert bool(module.parameters.num_leaves) == (count >= partition_from)
        folder = str(tmp_path / "model")
        tf.saved_model.save(
            module,
            folder,
            signatures=module.signatures(),
            options=tf.saved_model.SaveOptions(namespace_whitelist=["Scann"]),
        )
    recommend = tf.saved_model.load(folder).signatures["recommend"]
    users = _clustered(300, seed=5).reshape(100, 3, 4)
    weights = np.random.default_rng(2).uniform(0.5, 1, size=(100, 3)).astype(np.float32)
    answer = recommend(embedding=tf.constant(users), weight=tf.constant(weights), k=tf.constant(10))
    for i in range(10):  # what else is in the batch changes no answer
        one = {"embedding": users[i : i + 1], "weight": weights[i : i + 1]}
        alone = recommend(
            **{name: tf.constant(value) for name, value in one.items()}, k=tf.constant(10)
        )
        assert _ids(alone)[0] == _ids(answer)[i]
    every = (weights[:, :, None] * (users @ vectors.T)).max(axis=1)
    expected = np.argsort(-every, axis=1)[:, :10]
    hits = [
        len(set(row) & {f"p{i}" for i in truth}) / 10
        for row, truth in zip(_ids(answer), expected, strict=True)
    ]
    assert all(len(set(row)) == 10 for row in _ids(answer))
    assert np.mean(hits) >= 0.9


def test_short_leaves_are_answered_exactly(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(scann_index, "BRUTE_FORCE_BELOW", 200)
    monkeypatch.setattr(scann_index, "PARTITION_FROM", 2000)
    vectors = _clustered(2500)
    ids = [f"p{i}" for i in range(2500)]
    with retrieval_module(KeywordTower(tmp_path), vectors, ids, ScannRetrieval) as module:
        module.parameters = ScannParameters(module.parameters.num_leaves, 1, 2)
        answer = module.search(tf.constant(["red"]), tf.constant(2400))
    expected, _ = build_index(vectors, ids).search([[1, 0, 0, 0]], 2400)
    assert len(set(_ids(answer)[0]) & set(expected[0])) >= 2399  # ties of rounding at the end
    assert retrieval_scann.NAMESPACE == "Scann"


def test_two_exports_in_one_process_keep_apart(tmp_path) -> None:
    models = []
    for sign in (1, -1):
        path = export_retrieval_scann(
            KeywordTower(tmp_path), sign * VECTORS, IDS, tmp_path / "models", check=False
        )
        models.append(tf.saved_model.load(str(path)))
    for model, best in zip(models, (4.0, -0.0), strict=True):
        answer = model.signatures["search"](query=tf.constant(["blue"]), k=tf.constant(1))
        assert answer["score"].numpy()[0, 0] == best


def test_a_prefix_answers_as_retrieval_does(tmp_path) -> None:
    vectors, ids = _clustered(500), [f"p{i}" for i in range(500)]
    path = export_retrieval_scann(
        KeywordTower(tmp_path), vectors, ids, tmp_path, prefix=3, check=False
    )
    manifest = json.loads((path / "manifest.json").read_text())
    assert (manifest["prefix"], manifest["embedding_dim"]) == (3, 4)
    signatures = tf.saved_model.load(str(path)).signatures
    users = {"embedding": tf.constant(vectors[None, :2]), "weight": tf.constant([[1.0, 0.5]])}
    requests = {
        "search": {"query": tf.constant(["red sofa", "blue"])},
        "similar": {"product_id": tf.constant(["p7", "p123"])},
        "recommend": users,
    }
    with retrieval_module(KeywordTower(tmp_path), vectors, ids, prefix=3) as exact:
        for name, request in requests.items():
            found = signatures[name](**request, k=tf.constant(9))
            expected = getattr(exact, name)(**request, k=tf.constant(9))
            assert _ids(found) == _ids(expected), name
            np.testing.assert_allclose(found["score"], expected["score"], atol=1e-6)
