"""`retrieval_scann`: the answers of `retrieval`, on ops that a stock server lacks."""

import json

import numpy as np
import pytest

from tests.export.toy import IDS, TEXTS, VECTORS, KeywordTower, clustered, ids_of
from tfrs_sage.export import retrieval_scann
from tfrs_sage.export.check import check_ops
from tfrs_sage.export.graph_searchers import ExactGraphSearcher
from tfrs_sage.export.retrieval_module import retrieval_module
from tfrs_sage.export.retrieval_scann import ScannGraphSearcher, export_retrieval_scann
from tfrs_sage.index import build_index, cut_to_prefix, scann_index
from tfrs_sage.index.scann_index import ScannParameters

pytest.importorskip("scann", reason="ScaNN has no wheel for this platform")

import tensorflow as tf


def test_planted_answers_survive_a_fresh_process(tmp_path) -> None:
    path = export_retrieval_scann(KeywordTower(tmp_path), VECTORS, IDS, tmp_path / "models", TEXTS)
    report = check_ops(path)
    assert "Scann>ScannSearchBatched" in report.missing
    assert "lacks Scann>" in report.explain() and "serve `retrieval`" in report.explain()
    index = json.loads((path / "manifest.json").read_text())["index"]
    assert (index["kind"], index["recall"], index["recall_target"]) == ("scann", {"@6": 1.0}, 0.95)

    model = tf.saved_model.load(str(path))
    search, similar, recommend = (
        model.signatures[name] for name in ("search", "similar", "recommend")
    )
    answer = search(query=tf.constant(["RED sofa"]), k=tf.constant(1))
    assert ids_of(answer) == [["red sofa"]] and answer["score"].numpy().tolist() == [[6]]
    assert len(ids_of(search(query=tf.constant(["blue"]), k=tf.constant(50)))[0]) == 6
    answer = similar(product_id=tf.constant(["dull red"]), k=tf.constant(2))
    assert ids_of(answer) == [["red chair", "red sofa"]]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"unknown product_id:\] \[nope\]"):
        similar(product_id=tf.constant(["nope"]), k=tf.constant(2))
    users = tf.constant([[[0.0, 1, 0, 0], [0, 0, 0, 1]]])
    answer = recommend(embedding=users, weight=tf.constant([[0.5, 1]]), k=tf.constant(3))
    assert ids_of(answer) == [["sofa", "red sofa", "grün"]]  # "red sofa" is near both: once
    assert answer["score"].numpy().tolist() == [[4, 3, 2]]


@pytest.mark.parametrize(("count", "partition_from"), [(3000, 10_000), (6000, 2000)])
def test_same_ids_as_brute_force_within_the_recall(
    count: int, partition_from: int, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(scann_index, "BRUTE_FORCE_BELOW", 200)
    monkeypatch.setattr(scann_index, "PARTITION_FROM", partition_from)
    vectors = clustered(count)
    ids = [f"p{i}" for i in range(count)]
    searcher = ScannGraphSearcher(vectors)
    assert searcher.tune(vectors, recall_target=0.95).worst >= 0.95
    assert bool(searcher.parameters.num_leaves) == (count >= partition_from)
    with retrieval_module(KeywordTower(tmp_path), searcher, ids, 4) as module:
        folder = str(tmp_path / "model")
        tf.saved_model.save(
            module,
            folder,
            signatures=module.signatures(),
            options=tf.saved_model.SaveOptions(namespace_whitelist=["Scann"]),
        )
    recommend = tf.saved_model.load(folder).signatures["recommend"]
    users = clustered(300, seed=5).reshape(100, 3, 4)
    weights = np.random.default_rng(2).uniform(0.5, 1, size=(100, 3)).astype(np.float32)
    answer = recommend(embedding=tf.constant(users), weight=tf.constant(weights), k=tf.constant(10))
    for i in range(10):  # what else is in the batch changes no answer
        one = {"embedding": users[i : i + 1], "weight": weights[i : i + 1]}
        alone = recommend(
            **{name: tf.constant(value) for name, value in one.items()}, k=tf.constant(10)
        )
        assert ids_of(alone)[0] == ids_of(answer)[i]
    every = (weights[:, :, None] * (users @ vectors.T)).max(axis=1)
    expected = np.argsort(-every, axis=1)[:, :10]
    hits = [
        len(set(row) & {f"p{i}" for i in truth}) / 10
        for row, truth in zip(ids_of(answer), expected, strict=True)
    ]
    assert all(len(set(row)) == 10 for row in ids_of(answer))
    assert np.mean(hits) >= 0.9


def test_short_leaves_are_answered_exactly(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(scann_index, "BRUTE_FORCE_BELOW", 200)
    monkeypatch.setattr(scann_index, "PARTITION_FROM", 2000)
    vectors = clustered(2500)
    ids = [f"p{i}" for i in range(2500)]
    searcher = ScannGraphSearcher(vectors)
    searcher.parameters = ScannParameters(searcher.parameters.num_leaves, 1, 2)
    with retrieval_module(KeywordTower(tmp_path), searcher, ids, 4) as module:
        answer = module.search(tf.constant(["red"]), tf.constant(2400))
    expected, _ = build_index(vectors, ids).search([[1, 0, 0, 0]], 2400)
    assert len(set(ids_of(answer)[0]) & set(expected[0])) >= 2399  # ties of rounding at the end
    assert retrieval_scann.NAMESPACE == "Scann"


def test_two_exports_in_one_process_keep_apart(tmp_path) -> None:
    models = []
    for sign in (1, -1):
        path = export_retrieval_scann(
            KeywordTower(tmp_path), sign * VECTORS, IDS, tmp_path / "models", TEXTS, check=False
        )
        models.append(tf.saved_model.load(str(path)))
    for model, best in zip(models, (4.0, -0.0), strict=True):
        answer = model.signatures["search"](query=tf.constant(["blue"]), k=tf.constant(1))
        assert answer["score"].numpy()[0, 0] == best


def test_a_prefix_answers_as_retrieval_does(tmp_path) -> None:
    vectors, ids = clustered(500), [f"p{i}" for i in range(500)]
    path = export_retrieval_scann(
        KeywordTower(tmp_path), vectors, ids, tmp_path, TEXTS, prefix=3, check=False
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
    searcher = ExactGraphSearcher(cut_to_prefix(vectors, 3))
    with retrieval_module(KeywordTower(tmp_path), searcher, ids, 4) as exact:
        for name, request in requests.items():
            found = signatures[name](**request, k=tf.constant(9))
            expected = getattr(exact, name)(**request, k=tf.constant(9))
            assert ids_of(found) == ids_of(expected), name
            np.testing.assert_allclose(found["score"], expected["score"], atol=1e-6)
