"""`tfrs-sage index` on embeddings written by hand: kinds, attributes, the table of kinds."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tfrs_sage.artefacts import write_json
from tfrs_sage.cli.main import main
from tfrs_sage.cli.run_folder import STEPS_FILE
from tfrs_sage.index import load_index
from tfrs_sage.training.config import load_config, save_config

DIM, COUNT = 8, 300


def _embed(folder: Path, ids: list[str], seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(len(ids), DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIM)
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"id": ids, "embedding": flat}), folder / "part-0.parquet")
    write_json(folder / "manifest.json", {"count": len(ids), "dimension": DIM})
    return vectors


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose products are embedded and whose tables have colours."""
    folder, tables = tmp_path / "run", tmp_path / "tables"
    tables.mkdir()
    ids = [f"p{i:03}" for i in range(COUNT)]
    colors = ["red" if i % 10 == 0 else "blue" for i in range(COUNT)]
    pq.write_table(pa.table({"product_id": ids, "color": colors}), tables / "products.parquet")
    _embed(folder / "embeddings" / "product", ids, 0)
    _embed(folder / "embeddings" / "query", [f"q{i}" for i in range(40)], 1)
    settings = [f"embedding_dim={DIM}", "loss.prefix_weights=null", "index.kind=brute_force"]
    save_config(load_config("tiny", None, settings), folder / "config.yaml")
    write_json(folder / STEPS_FILE, {"input": str(tables), "done": {}})
    return folder


def test_an_index_with_attributes(run: Path, capsys) -> None:
    arguments = ["--kind", "partitioned", "--recall-target", "0.9", "--attribute", "color"]
    assert main(["index", "--dir", str(run), *arguments, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["kind"], made["count"], made["attributes"]) == ("partitioned", COUNT, ["color"])
    assert min(made["report"]["recall"].values()) >= 0.9
    index = load_index(run / "index" / "product")
    ids, _ = index.search(np.ones((1, DIM)), 100, where={"color": "red"})
    assert sorted(ids[0]) == [f"p{i:03}" for i in range(0, COUNT, 10)]
    # The settings are the run's from now on; automatic is brute force for so few.
    assert main(["index", "--dir", str(run), "--kind", "auto", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["kind"], made["attributes"]) == ("brute_force", ["color"])


def test_bad_attributes_and_targets_are_bad_usage(run: Path, capsys) -> None:
    assert main(["index", "--dir", str(run), "--attribute", "colour"]) == 2
    assert "Received: 'colour'" in capsys.readouterr().err
    assert main(["index", "--dir", str(run), "--attribute", "color", "--kind", "hnsw"]) == 2
    assert "index.kind" in capsys.readouterr().err


def test_a_target_that_is_not_reached_fails(run: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("tfrs_sage.index.partitioned.TRIED", ())
    arguments = ["--kind", "partitioned", "--recall-target", "1.0"]
    assert main(["index", "--dir", str(run), *arguments]) == 2
    assert "reach recall 1.0 over these 300 vectors" in capsys.readouterr().err
    assert not (run / "index").exists()


def test_the_table_of_kinds_changes_nothing(run: Path, capsys) -> None:
    before = (run / "config.yaml").read_text()
    assert main(["index", "--dir", str(run), "--compare", "--recall-target", "0.9", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["count"], result["num_text_queries"]) == (COUNT, 40)
    kinds = {row["kind"]: row for row in result["kinds"]}
    assert kinds["brute_force"]["recall@10"] == 1
    assert kinds["partitioned"]["recall@10"] > 0.8
    assert (run / "config.yaml").read_text() == before
    assert not (run / "index").exists()
    assert main(["index", "--dir", str(run), "--compare"]) == 0
    out = capsys.readouterr().out
    assert "queries/s, one by one" in out
    assert "partitioned" in out
