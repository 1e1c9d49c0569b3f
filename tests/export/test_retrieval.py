"""The `retrieval` export: planted answers, exactness, errors, a fresh process, stock ops."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.export.toy import IDS, VECTORS, KeywordTower, save_tower
from tfrs_sage.errors import InputError
from tfrs_sage.export import retrieval
from tfrs_sage.export.check import check_ops, list_ops, missing_ops
from tfrs_sage.export.retrieval import export_retrieval, retrieval_module
from tfrs_sage.export.roundtrip import ask_fresh_process, check_roundtrip
from tfrs_sage.export.savedmodel import latest_version, versions
from tfrs_sage.index import build_index


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A `retrieval` made from an exported query tower, whose folder is gone afterwards."""
    folder = tmp_path_factory.mktemp("retrieval")
    tower = save_tower(KeywordTower(folder), folder / "query_tower")
    path = export_retrieval(
        tower, VECTORS, IDS, folder / "models", probe_queries=["Red sofa"], check=False
    )
    shutil.rmtree(tower)
    (folder / "keywords.txt").unlink()
    return path


@pytest.fixture(scope="module")
def signatures(exported):
    model = tf.saved_model.load(str(exported))
    calls = {}
    for name in ("search", "similar", "recommend", "serving_default"):

        def call(k, function=model.signatures[name], **inputs):
            tensors = {key: tf.constant(value) for key, value in inputs.items()}
            answer = function(k=tf.constant(k, tf.int32), **tensors)
            ids = [[i.decode() for i in row] for row in answer["product_id"].numpy()]
            return ids, answer["score"].numpy().tolist()

        calls[name] = call
    calls["model"] = model
    return calls


def test_search_finds_what_was_planted(signatures) -> None:
    ids, scores = signatures["search"](3, query=["RED sofa", "grün green", ""])
    assert ids == [
        ["red sofa", "red chair", "sofa"],
        ["grün", "red chair", "blue-1"],
        ["red chair", "grün", "blue-1"],  # all scores 0: in row order
    ]
    assert scores == [[6, 4, 4], [4, 0, 0], [0, 0, 0]]
    assert signatures["serving_default"](3, query=["RED sofa"])[0] == ids[:1]


def test_k_is_an_input_and_is_clipped(signatures) -> None:
    for k in (1, 2, 6, 100):
        ids, scores = signatures["search"](k, query=["blue"])
        assert len(ids[0]) == len(scores[0]) == min(k, 6)
        assert ids[0][0] == "blue-1"
    for k in (0, -3):
        with pytest.raises(tf.errors.InvalidArgumentError, match="`k` must be a positive int"):
            signatures["search"](k, query=["blue"])
    empty = signatures["search"](3, query=np.zeros(0, dtype=str))
    assert empty == ([], [])


def test_similar_leaves_the_product_itself_out(signatures) -> None:
    ids, scores = signatures["similar"](2, product_id=["dull red", "red sofa"])
    # "dull red" is not its own best match, "red sofa" would be: neither may appear.
    assert ids == [["red chair", "red sofa"], ["red chair", "sofa"]]
    assert scores == [[4, 3], [12, 12]]
    assert len(signatures["similar"](100, product_id=["sofa"])[0][0]) == 5
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"unknown product_id:\] \[nope\]"):
        signatures["similar"](2, product_id=["sofa", "nope"])


def test_recommend_takes_the_best_vector_of_a_user(signatures) -> None:
    axes = np.eye(4, dtype=np.float32)
    ids, scores = signatures["recommend"](
        4, embedding=[[axes[1], axes[3]]], weight=np.float32([[0.5, 1.0]])
    )
    assert ids == [["sofa", "red sofa", "grün", "red chair"]]
    assert scores == [[4, 3, 2, 0]]
    # A padding vector of weight 0 may not lift negative scores to 0.
    ids, scores = signatures["recommend"](
        6, embedding=[[-axes[0], axes[1]]], weight=np.float32([[1.0, 0.0]])
    )
    assert scores == [[0, 0, 0, -1, -3, -4]]
    assert ids[0][3:] == ["dull red", "red sofa", "red chair"]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"must have the shape \[n, m\]"):
        signatures["recommend"](2, embedding=[[axes[0]]], weight=np.float32([[1, 1]]))


def test_chunks_do_not_change_the_answer(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(retrieval, "SCORE_BUDGET", 1)
    monkeypatch.setattr(retrieval, "MIN_CHUNK", 7)
    # Few distinct whole numbers: ties within and across the chunks.
    vectors = np.random.default_rng(0).integers(-2, 3, size=(100, 4)).astype(np.float32)
    ids = [f"p{i}" for i in range(100)]
    with retrieval_module(KeywordTower(tmp_path), vectors, ids) as module:
        answer = module.search(tf.constant(["red", "blue sofa"]), tf.constant(30))
        users = np.random.default_rng(1).integers(-2, 3, size=(2, 3, 4)).astype(np.float32)
        weights = np.float32([[1, 2, 3], [2, 2, 1]])
        best = module.recommend(tf.constant(users), tf.constant(weights), tf.constant(30))
    queries = np.float32([[1, 0, 0, 0], [0, 0, 1, 1]])
    expected, scores = build_index(vectors, ids).search(queries, 30)
    assert [[i.decode() for i in row] for row in answer["product_id"].numpy()] == expected.tolist()
    np.testing.assert_array_equal(answer["score"], scores)

    every = (weights[:, :, None] * (users @ vectors.T)).max(axis=1)
    order = np.argsort(-every, axis=1, kind="stable")[:, :30]
    assert best["product_id"].numpy().tolist() == [[f"p{i}".encode() for i in r] for r in order]


def test_a_fresh_process_without_scann_answers_the_same(exported) -> None:
    requests = {
        "search": {"query": np.array(["red sofa"], dtype=object), "k": np.int32(2)},
        "similar": {"product_id": np.array(["sofa"], dtype=object), "k": np.int32(1)},
    }
    expected = {
        "search": {
            "product_id": np.array([[b"red sofa", b"red chair"]], dtype=object),
            "score": np.float32([[6, 4]]),
        },
        "similar": {"product_id": np.array([[b"red sofa"]], dtype=object)},
    }
    check_roundtrip(exported, requests, expected)
    expected["search"]["product_id"][0, 0] = b"other"
    with pytest.raises(RuntimeError, match="Found: b'red sofa' in place of b'other'"):
        check_roundtrip(exported, requests, expected)
    with pytest.raises(RuntimeError, match="must load and answer in a fresh process"):
        ask_fresh_process(exported, {"nope": {}})


def test_candidates_are_not_in_the_graph(tmp_path) -> None:
    vectors = np.random.default_rng(0).normal(size=(20_000, 4)).astype(np.float32)
    with retrieval_module(KeywordTower(tmp_path), vectors, range(20_000)) as module:
        signatures = module.signatures()
        tf.saved_model.save(module, str(tmp_path / "m"), signatures=signatures)
    assert (tmp_path / "m" / "saved_model.pb").stat().st_size < 200_000


def test_versions_count_up_and_say_what_they_are(exported, tmp_path) -> None:
    root = tmp_path / "models"
    assert versions(root / "retrieval") == []
    with pytest.raises(InputError, match="Export the model 'retrieval' first"):
        latest_version(root, "retrieval")
    for number in (1, 2):
        path = export_retrieval(
            KeywordTower(tmp_path), VECTORS, IDS, root, manifest={"run": "r"}, check=number == 2
        )
        assert path == root / "retrieval" / str(number) == latest_version(root, "retrieval")
    assert sorted(p.name for p in (root / "retrieval").iterdir()) == ["1", "2"]
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["count"] == 6 and manifest["dimension"] == 4 and manifest["run"] == "r"
    assert manifest["signatures"] == ["recommend", "search", "serving_default", "similar"]


def test_a_tower_of_another_width_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match=r"one width\. Received: 4 and 3"):
        export_retrieval(KeywordTower(tmp_path), np.eye(3), ["a", "b", "c"], tmp_path)


def test_a_prefix_answers_as_brute_force_over_the_cut_vectors(tmp_path) -> None:
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(40, 4)).astype("f4")
    ids = [f"p{i}" for i in range(40)]
    path = export_retrieval(
        KeywordTower(tmp_path), vectors, ids, tmp_path, prefix=2, probe_queries=["red green blue"]
    )
    manifest = json.loads((path / "manifest.json").read_text())
    assert (manifest["prefix"], manifest["dimension"], manifest["embedding_dim"]) == (2, 2, 4)
    signatures = tf.saved_model.load(str(path)).signatures
    k = tf.constant(7)

    def unit(given: np.ndarray) -> np.ndarray:
        return given[..., :2] / np.linalg.norm(given[..., :2], axis=-1, keepdims=True)

    def check(answer, scores: np.ndarray) -> None:
        best = np.argsort(-scores, axis=1, kind="stable")[:, :7]
        assert answer["product_id"].numpy().tolist() == [[b"p%d" % i for i in r] for r in best]
        found = np.take_along_axis(scores, best, axis=1)
        np.testing.assert_allclose(answer["score"], found, atol=1e-6)

    # "blue" lies behind the prefix: only red and green are left of it.
    queries = np.float32([[1, 1, 1, 0], [1, 0, 0, 0]])
    answer = signatures["search"](query=tf.constant(["red green blue", "red"]), k=k)
    check(answer, unit(queries) @ unit(vectors).T)
    rows = [4, 17]
    scores = unit(vectors[rows]) @ unit(vectors).T
    scores[[0, 1], rows] = -np.inf
    check(signatures["similar"](product_id=tf.constant(["p4", "p17"]), k=k), scores)
    users = rng.normal(size=(2, 3, 4)).astype("f4")  # as wide as the towers' embeddings
    weights = np.float32([[1, 0.5, 2], [1, 1, 0.1]])
    answer = signatures["recommend"](embedding=tf.constant(users), weight=weights, k=k)
    check(answer, (weights[:, :, None] * (unit(users) @ unit(vectors).T)).max(axis=1))


def test_the_whole_width_as_a_prefix_changes_nothing(tmp_path) -> None:
    with retrieval_module(KeywordTower(tmp_path), VECTORS, IDS, prefix=4) as module:
        answer = module.search(tf.constant(["RED sofa"]), tf.constant(3))
    assert answer["score"].numpy().tolist() == [[6, 4, 4]]  # and not cosines
    with pytest.raises(InputError, match=r"1 to 4, the width of the embeddings\. Received: 5"):
        export_retrieval(KeywordTower(tmp_path), VECTORS, IDS, tmp_path, prefix=5)


def test_every_op_is_on_a_stock_server(exported, tmp_path) -> None:
    report = check_ops(exported)
    assert report.missing == () and report.loads_on_stock_server
    assert "CaseFoldUTF8" in report.ops  # TF Text's, within a function of the tower
    assert "TopKV2" in report.ops
    assert "are in TF Serving 2.20" in report.explain()
    with pytest.raises(InputError, match=r"no saved_model\.pb"):
        list_ops(tmp_path)


def test_foreign_and_python_ops_are_named() -> None:
    names = ["MatMul", "Scann>ScannSearchBatched", "EagerPyFunc", "TFText>NoSuchOp"]
    assert missing_ops(names) == ("EagerPyFunc", "Scann>ScannSearchBatched", "TFText>NoSuchOp")
