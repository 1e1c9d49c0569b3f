"""`retrieval` on a partitioned index: the answers of brute force within the stated recall."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.export.toy import TEXTS, KeywordTower, clustered, ids_of
from tfrs_sage.errors import InputError
from tfrs_sage.export.check import check_ops
from tfrs_sage.export.retrieval import export_retrieval
from tfrs_sage.index import build_index

COUNT, DIMENSION = 3000, 4
IDS = [f"p{i}" for i in range(COUNT)]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("partitioned")
    return export_retrieval(
        KeywordTower(folder), clustered(COUNT), IDS, folder, TEXTS, kind="partitioned"
    )


@pytest.fixture(scope="module")
def ask(exported):
    signatures = tf.saved_model.load(str(exported)).signatures

    def call(name: str, k: int, **inputs):
        tensors = {key: tf.constant(value) for key, value in inputs.items()}
        return signatures[name](k=tf.constant(k, tf.int32), **tensors)

    return call


def _share_found(answer, scores: np.ndarray) -> float:
    """Recall of an answer against every candidate's score."""
    found = ids_of(answer)
    k = len(found[0])
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    assert all(len(set(row)) == k for row in found)
    told = np.array([[int(name[1:]) for name in row] for row in found])
    np.testing.assert_allclose(answer["score"], np.take_along_axis(scores, told, 1), atol=1e-5)
    return np.mean([len(set(a) & set(b)) / k for a, b in zip(told, best, strict=True)])


def test_it_says_what_it_is_and_runs_on_a_stock_server(exported) -> None:
    index = json.loads((exported / "manifest.json").read_text())["index"]
    assert index["kind"] == "partitioned" and min(index["recall"].values()) >= 0.95
    report = check_ops(exported)
    assert report.fits_stock_server, report.explain()
    assert "ResourceGather" not in report.ops  # see GraphSearcher


def test_every_signature_finds_what_brute_force_finds(ask) -> None:
    vectors = clustered(COUNT)
    texts = ["red", "green sofa", "blue", "red green blue sofa"]
    words = np.float32([[1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0], [1, 1, 1, 1]])
    assert _share_found(ask("search", 10, query=texts), words @ vectors.T) >= 0.9

    rows = np.arange(0, COUNT, 60)
    scores = vectors[rows] @ vectors.T
    scores[np.arange(len(rows)), rows] = -np.inf
    answer = ask("similar", 10, product_id=[IDS[row] for row in rows])
    assert _share_found(answer, scores) >= 0.95

    users = clustered(150, seed=5).reshape(50, 3, 4)
    weights = np.random.default_rng(2).uniform(0.5, 1, size=(50, 3)).astype("f4")
    every = (weights[:, :, None] * (users @ vectors.T)).max(axis=1)
    assert _share_found(ask("recommend", 10, embedding=users, weight=weights), every) >= 0.95


def test_any_k_up_to_every_candidate(ask) -> None:
    for k, expected in ((1, 1), (COUNT - 1, COUNT - 1), (COUNT, COUNT), (COUNT + 7, COUNT)):
        ids = ids_of(ask("search", k, query=["red", "sofa"]))
        assert len(ids[0]) == expected and len(set(ids[1])) == expected
    similar = ids_of(ask("similar", COUNT + 7, product_id=["p3"]))[0]
    assert len(set(similar)) == COUNT - 1 and "p3" not in similar
    with pytest.raises(tf.errors.InvalidArgumentError, match="`k` must be a positive int"):
        ask("search", 0, query=["red"])
    assert ids_of(ask("search", 3, query=np.zeros(0, str))) == []


def test_a_padding_vector_takes_no_part(ask) -> None:
    users = clustered(6, seed=3).reshape(2, 3, 4)
    weights = np.float32([[1, 0, 0.5], [0.25, 1, 0]])
    padded = ids_of(ask("recommend", 20, embedding=users, weight=weights))
    for row, kept in enumerate(([0, 2], [0, 1])):
        user, weight = users[row : row + 1, kept], weights[row : row + 1, kept]
        assert ids_of(ask("recommend", 20, embedding=user, weight=weight))[0] == padded[row]


def test_a_built_index_is_taken_as_it_is(tmp_path) -> None:
    vectors = clustered(500)
    index = build_index(vectors, IDS[:500], "partitioned", 0.5)
    path = export_retrieval(
        KeywordTower(tmp_path), vectors, IDS[:500], tmp_path, TEXTS, index=index, check=False
    )
    told = json.loads((path / "manifest.json").read_text())["index"]
    assert told == {"kind": "partitioned", **json.loads(json.dumps(index.report))}
    index.delete([IDS[7]])
    with pytest.raises(InputError, match="in their order"):
        export_retrieval(
            KeywordTower(tmp_path), vectors, IDS[:500], tmp_path, TEXTS, index=index, check=False
        )


def test_small_catalogues_are_searched_exactly(tmp_path) -> None:
    path = export_retrieval(
        KeywordTower(tmp_path), clustered(50), IDS[:50], tmp_path, TEXTS, check=False
    )
    index = json.loads((path / "manifest.json").read_text())["index"]
    assert index == {"kind": "brute_force", "recall": {"@10": 1.0, "@100": 1.0}}
