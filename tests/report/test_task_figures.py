"""What `evaluate` computes beside a task's figures, on a run made by hand."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from tests.export.toy import KeywordTower, save_tower
from tests.report.shop_run import IDS, SEARCH, SIMILAR, TITLES, write_shop
from tfrs_sage.artefacts import write_json
from tfrs_sage.cli.evaluate import told
from tfrs_sage.errors import InputError
from tfrs_sage.evaluation import bootstrap_interval, recall_per_query
from tfrs_sage.report.evaluate_run import evaluate_run
from tfrs_sage.report.ranks import read_ranks

WORDS = ("red", "green", "blue", "sofa")


def embeddings() -> np.ndarray:
    """Axes of the words of the titles, and a little that makes every product unlike the others."""
    axes = np.float32([[word in title.split() for word in WORDS] for title in TITLES])
    vectors = axes + np.random.default_rng(0).normal(scale=0.05, size=axes.shape)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    write_shop(folder, settings=("embedding_dim=4", "loss.prefix_weights={2: 0.5, 4: 1.0}"))
    products = folder / "embeddings" / "product"
    products.mkdir(parents=True)
    column = pa.array(embeddings().tolist(), pa.list_(pa.float32(), 4))
    pq.write_table(pa.table({"id": IDS, "embedding": column}), products / "part-0.parquet")
    write_json(products / "manifest.json", {"count": len(IDS), "dimension": 4})
    save_tower(KeywordTower(tmp_path), folder / "saved_models" / "query_tower" / "1")
    return folder


def test_everything_at_once(run) -> None:
    result = evaluate_run(
        run,
        run / "saved_models",
        baselines=True,
        slices=["all", "brand"],
        lists=True,
        groups={"search": [SEARCH]},
    )
    assert result["groups"]["search"] == result["tasks"][SEARCH]
    for task in (SEARCH, SIMILAR):
        figures = result["tasks"][task]
        for baseline in ("popular", "bm25", "cooccurrence"):
            assert set(figures[baseline]) == {"recall@10", "recall@100", "mrr", "intervals"}
        pairs = [one["num_pairs"] for one in figures["slices"]["brand"].values()]
        assert sum(pairs) == figures["num_pairs"] == 3
        assert 0 < figures["lists"]["coverage@10"] <= 1
        assert figures["lists"] == figures["prefixes"]["4"]["lists"]
        assert figures["lists"] != figures["prefixes"]["2"]["lists"]
    # What is written can be read by any JSON reader, and ranks give the same figures.
    file = run / "metrics" / "evaluate-test.json"
    assert json.loads(file.read_text(), parse_constant=pytest.fail)["tasks"].keys() == {
        SEARCH,
        SIMILAR,
    }
    ranks = read_ranks(run, "test")[SEARCH]
    figures = result["tasks"][SEARCH]
    assert np.mean(ranks.ranks <= 10) == figures["recall@10"]
    per_query = recall_per_query(ranks.ranks, ranks.pair_query, 10)
    assert figures["intervals"]["recall@10"] == bootstrap_interval(*per_query)
    console = Console(width=200, record=True, file=io.StringIO())
    for item in told(result):
        console.print(item)
    text = console.export_text()
    for word in ("bm25", "cooccurrence", "decile", "Bolt", "gini@10", "95% interval"):
        assert word in text


def test_distractors_are_candidates_of_all_tasks_and_prefixes(run, tmp_path) -> None:
    root = run / "saved_models"
    alone = evaluate_run(run, root)["tasks"]
    # One more beside each product: the same direction, so behind it and before whatever follows.
    np.save(tmp_path / "more.npy", embeddings())
    result = evaluate_run(run, root, distractors=tmp_path / "more.npy")
    assert result["distractors"]["count"] == 12
    assert {one["index_size"] for one in result["tasks"].values()} == {24}
    figures = result["tasks"][SIMILAR]
    assert figures["mrr"] < alone[SIMILAR]["mrr"]
    assert figures["prefixes"]["4"]["mrr"] == figures["mrr"]
    assert figures["prefixes"]["2"]["mrr"] < alone[SIMILAR]["prefixes"]["2"]["mrr"]
    ranks = read_ranks(run, "test")[SIMILAR].ranks
    evaluate_run(run, root)
    before = read_ranks(run, "test")[SIMILAR].ranks
    assert ranks.tolist() == (2 * before - 1).tolist()  # each that was ahead brings its double


def test_refusals(run, tmp_path) -> None:
    root = run / "saved_models"
    np.save(tmp_path / "more.npy", np.zeros((3, 5), np.float32))
    with pytest.raises(InputError, match=r"the run's embeddings, 4\. Found: 5"):
        evaluate_run(run, root, distractors=tmp_path / "more.npy")
    with pytest.raises(InputError, match="Leave one of the two out"):
        evaluate_run(run, root, distractors=tmp_path / "more.npy", baselines=True)
    with pytest.raises(InputError, match="--slice must be all"):
        evaluate_run(run, root, slices=["weather"])
