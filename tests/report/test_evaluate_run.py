"""Evaluation of a run folder made by hand: prefixes against numpy, what is left out, refusals."""

import io
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from rich.console import Console

from tests.export.toy import KeywordTower, save_tower
from tfrs_sage.artefacts import write_json
from tfrs_sage.cli.evaluate import told
from tfrs_sage.errors import InputError
from tfrs_sage.report.evaluate_run import evaluate_run
from tfrs_sage.training.config import load_config, save_config

SEARCH, SIMILAR = "search/product/click", "product/product/click"
QUERIES = ("red", "green blue", "red sofa", "red green blue")


def _write_pairs(run: Path, task: str, split: str, pairs: list[tuple[str, str]]) -> None:
    path = run / "examples" / split / f"{task}-00000-of-00001.tfrecord"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for query, candidate in pairs:
            example = tf.train.Example()
            for name, value in (("query/id", query), ("candidate/id", candidate)):
                example.features.feature[name].bytes_list.value.append(value.encode())
            writer.write(example.SerializeToString())


@pytest.fixture(scope="module")
def given():
    """Unit vectors of 120 products, and the pairs of two tasks."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(120, 4)).astype("f4")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    some = rng.choice(120, size=(4, 6), replace=False)
    pairs = {
        SEARCH: [
            (query, f"p{i:03}") for query, row in zip(QUERIES, some, strict=True) for i in row
        ],
        SIMILAR: [(f"p{a:03}", f"p{b:03}") for a, b in rng.choice(120, size=(30, 2))],
    }
    return vectors, pairs


@pytest.fixture
def run(given, tmp_path: Path) -> Path:
    vectors, pairs = given
    folder = tmp_path / "run"
    settings = ["embedding_dim=4", "loss.prefix_weights={2: 0.5, 4: 1.0}"]
    save_config(load_config("tiny", None, settings), folder / "config.yaml")
    for task, of_task in pairs.items():
        for split in ("train", "test"):
            _write_pairs(folder, task, split, of_task)
    counts = {task: {"train": len(one), "test": len(one)} for task, one in pairs.items()}
    write_json(folder / "examples" / "manifest.json", {"tasks": counts})
    products = folder / "embeddings" / "product"
    products.mkdir(parents=True)
    ids = [f"p{i:03}" for i in range(120)]
    column = pa.array(vectors.tolist(), pa.list_(pa.float32(), 4))
    pq.write_table(pa.table({"id": ids, "embedding": column}), products / "part-0.parquet")
    write_json(products / "manifest.json", {"count": 120, "dimension": 4})
    save_tower(KeywordTower(tmp_path), folder / "saved_models" / "query_tower" / "1")
    return folder


def _query_vectors(texts: list[str]) -> np.ndarray:
    words = ("red", "green", "blue", "sofa")
    return np.float32([[word in text.split() for word in words] for text in texts])


def _recall(queries: np.ndarray, vectors: np.ndarray, pairs: list[tuple[str, str]], k: int):
    """Share of distinct pairs whose candidate is among the k best, by a full sort."""
    names = sorted({query for query, _ in pairs})
    best = np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :k]
    hits = [int(b[1:]) in best[names.index(a)] for a, b in sorted(set(pairs))]
    return np.mean(hits)


def test_prefixes_are_the_figures_of_the_cut_vectors(run, given) -> None:
    vectors, pairs = given
    tasks = evaluate_run(run, run / "saved_models")["tasks"]
    queries = {
        SEARCH: _query_vectors(sorted({a for a, _ in pairs[SEARCH]})),
        SIMILAR: vectors[[int(a[1:]) for a in sorted({a for a, _ in pairs[SIMILAR]})]],
    }
    for task, of_task in pairs.items():
        cut = [
            one[:, :2] / np.linalg.norm(one[:, :2], axis=1, keepdims=True)
            for one in (queries[task], vectors)
        ]
        figures = tasks[task]
        assert set(figures["prefixes"]) == {"2", "4"}  # those of loss.prefix_weights
        assert figures["prefixes"]["2"]["recall@10"] == _recall(*cut, of_task, 10)
        assert figures["recall@10"] == _recall(queries[task], vectors, of_task, 10)
        assert figures["prefixes"]["2"] != figures["prefixes"]["4"]
        # The whole width is the whole embedding.
        keys = ("recall@10", "recall@100", "mrr")
        of_prefix = figures["prefixes"]["4"]
        assert {key: of_prefix[key] for key in keys} == {key: figures[key] for key in keys}


def test_prefixes_by_hand_take_the_place_of_those_of_the_training(run) -> None:
    groups = {"all": [SEARCH]}
    result = evaluate_run(run, run / "saved_models", groups=groups, prefixes=[3])
    assert set(result["tasks"][SEARCH]["prefixes"]) == {"3"}
    assert result["groups"]["all"] == result["tasks"][SEARCH]
    assert "prefixes" not in evaluate_run(run, run / "saved_models", prefixes=[])["tasks"][SEARCH]


def _write_catalogue(run: Path, column: str, vectors: np.ndarray, having: set[int]) -> None:
    """Products with a vector of another space, those of `having`."""
    folder = run / "catalogue"
    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / "product-00000-of-00001.tfrecord")) as writer:
        for i, vector in enumerate(vectors):
            example = tf.train.Example()
            example.features.feature["id"].bytes_list.value.append(f"p{i:03}".encode())
            if i in having:
                data = (3.0 * vector).astype("<f2").tobytes()  # of any length
                example.features.feature[column].bytes_list.value.append(data)
            writer.write(example.SerializeToString())
    entity = {"entity": "product", "texts": [], "vectors": {column: vectors.shape[1]}}
    write_json(folder / "manifest.json", {"entities": {"product": entity}})


def test_compatibility_is_the_queries_prefix_against_the_rows_that_have_the_vector(
    run, given, caplog
) -> None:
    """Every second positive of the search pairs has a vector of two numbers."""
    pairs = given[1][SEARCH]
    old = np.random.default_rng(1).normal(size=(120, 2))
    having = {int(b[1:]) for _, b in pairs[::2]} | set(range(0, 120, 3))
    _write_catalogue(run, "old_embedding", old, having)
    settings = [
        "embedding_dim=4",
        "loss.prefix_weights={1: 0.1, 2: 0.5, 4: 1.0}",
        "training.compatibility={product: [old_embedding]}",
    ]
    save_config(load_config("tiny", None, settings), run / "config.yaml")
    name = f"{SEARCH}@old_embedding"
    result = evaluate_run(run, run / "saved_models", groups={"old": [name]})
    assert set(result["tasks"]) == {SEARCH, SIMILAR, name}  # not of queries that are products
    rows = sorted(having)
    kept = [(a, f"p{rows.index(int(b[1:])):03}") for a, b in pairs if int(b[1:]) in having]
    queries = _query_vectors(sorted({a for a, _ in kept}))
    figures = result["tasks"][name]
    assert 12 <= len(kept) < 24 and figures["num_left_out"] == 24 - len(kept)
    assert (figures["index_size"], figures["dimension"]) == (len(rows), 2)
    for width in (1, 2):
        cut = [
            one[:, :width] / np.maximum(np.linalg.norm(one[:, :width], axis=1, keepdims=True), 1e-6)
            for one in (queries, (old / np.linalg.norm(old, axis=1, keepdims=True))[rows])
        ]
        assert figures["prefixes"][str(width)]["recall@10"] == _recall(*cut, kept, 10)
    assert set(figures["prefixes"]) == {"1", "2"}  # 4 is wider than the old vectors
    assert figures["recall@10"] == figures["prefixes"]["2"]["recall@10"]
    assert result["groups"]["old"] == figures
    with pytest.raises(InputError, match="one kind of query and one kind of candidate"):
        evaluate_run(run, run / "saved_models", groups={"both": [SEARCH, name]})
    console = Console(width=200, record=True, file=io.StringIO())
    for item in told(result):
        console.print(item)
    text = console.export_text()
    (line,) = [one for one in text.splitlines() if "old_embedding" in one and SEARCH in one][:1]
    assert f"{figures['recall@10']:.3f}" in line and str(figures["num_left_out"]) in line
    shutil.rmtree(run / "catalogue")
    _write_catalogue(run, "old_embedding", old, set(range(120)) - {int(b[1:]) for _, b in pairs})
    assert name not in evaluate_run(run, run / "saved_models")["tasks"]
    assert f"{name} is left out: no candidate of its pairs has that vector" in caplog.text


def test_what_cannot_be_evaluated_is_refused_before_anything_is_ranked(run) -> None:
    with pytest.raises(InputError, match=r"1 to 4, the width of the embeddings\. Received: 8"):
        evaluate_run(run, run / "saved_models", prefixes=[2, 8])
    with pytest.raises(InputError, match="--split must be one of"):
        evaluate_run(run, run / "saved_models", split="tset")
    with pytest.raises(InputError, match="one kind of query"):
        evaluate_run(run, run / "saved_models", groups={"both": [SEARCH, SIMILAR]})


def test_tasks_may_be_chosen_and_those_without_a_tower_are_left_out(run, caplog) -> None:
    root = run / "saved_models"
    assert set(evaluate_run(run, root, tasks=[SIMILAR])["tasks"]) == {SIMILAR}
    (root / "query_tower" / "1").rename(root / "query_tower" / "elsewhere")
    assert set(evaluate_run(run, root)["tasks"]) == {SIMILAR}
    assert f"{SEARCH} is left out: no embeddings of ['query']" in caplog.text
