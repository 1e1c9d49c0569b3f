"""The second model of a line: its queries search the index that the first one made."""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.beam_pipelines.tiny_tables import engagement, write_tables
from tfrs_sage.cli.main import main
from tfrs_sage.cli.run_folder import RunFolder
from tfrs_sage.export.savedmodel import LoadedQueryTower, latest_version
from tfrs_sage.index import build_index, cut_to_prefix, load_index, read_embeddings
from tfrs_sage.report.evaluate_run import evaluate_run
from tfrs_sage.training.config import load_config

pytestmark = pytest.mark.integration

TASK, COLUMN = "search/product/click", "v1_embedding"
# One word, one product: chance finds one in sixty.
WORDS = ["".join(parts) for parts in itertools.product(("ba", "ko", "ti"), ("mu", "ne"), repeat=2)]
WORDS = [f"{word}{end}" for word in WORDS for end in ("r", "s")][:60]
SETTINGS = [
    "preprocess.min_count=1",
    "preprocess.wordpiece_size=300",
    "query_tower.dropout=0",
    "training.batch_size=60",
    "training.random_negatives=16",
    "training.learning_rate=4e-3",
    "training.steps=120",
    "training.checkpoint_steps=120",
]
OLD = ["embedding_dim=16", "training.seed=1"]
# Another width, another depth, another draw of the weights: nothing is alike by itself.
NEW = ["embedding_dim=24", "training.seed=2", "query_tower.num_layers=2"]


def run_of(folder: Path, tables: Path, *settings: str) -> RunFolder:
    run = RunFolder(folder, load_config("tiny", None, [*SETTINGS, *settings]), str(tables))
    run.save()
    for step in ("preprocess", "train", "towers"):
        run.do(step, skip_done=True)
    return run


def found(run: RunFolder, index) -> float:
    """Share of the words whose own product comes first."""
    vectors = LoadedQueryTower(latest_version(run.root, "query_tower"))(tf.constant(WORDS)).numpy()
    ids, _ = index.search(cut_to_prefix(vectors, index.dimension), 1)
    return float(np.mean(ids[:, 0] == [f"p{n}" for n in range(len(WORDS))]))


def test_queries_of_the_second_model_search_the_index_of_the_first(tmp_path, capsys) -> None:
    products = [{"product_id": f"p{n}", "title": word} for n, word in enumerate(WORDS)]
    pairs = [engagement("search", word, f"p{n}", "train") for n, word in enumerate(WORDS)]
    tables = write_tables(tmp_path / "tables", products=products, engagements=pairs)
    old = run_of(tmp_path / "v1", tables, *OLD)
    arguments = ["--as-column", COLUMN, "--output", str(tmp_path / "tables-v1"), "--json"]
    assert main(["embed", f"--dir={old.path}", *arguments]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"products": {"rows": 60, "with_vector": 60, "dimension": 16}}
    ids, vectors = read_embeddings(old.path / "embeddings" / "product")
    build_index(vectors, ids, kind="brute_force").save(tmp_path / "index")
    index = load_index(tmp_path / "index")  # as it lies in production, made without the new model

    compatible = f"training.compatibility={{product: [{COLUMN}]}}"
    new = run_of(tmp_path / "v2", tmp_path / "tables-v1", *NEW, compatible)
    made = shutil.ignore_patterns("checkpoints", "metrics", "saved_models", "tensorboard")
    shutil.copytree(new.path, tmp_path / "apart", ignore=made)  # preprocessed once
    apart = run_of(tmp_path / "apart", tmp_path / "tables-v1", *NEW, "product_tower.vectors=[]")
    of_old, of_new, of_other = (found(run, index) for run in (old, new, apart))
    assert of_old >= 0.9
    assert of_new >= of_old - 0.1, "what compatibility may cost on the old index"
    assert of_other <= 0.15, "a model of its own cannot read the old index"

    new.do("embed")
    figures = evaluate_run(new.path, new.root, "train")["tasks"]
    assert set(figures) == {TASK, f"{TASK}@{COLUMN}"}
    fixed = figures[f"{TASK}@{COLUMN}"]
    assert (fixed["dimension"], fixed["index_size"], fixed["num_left_out"]) == (16, 60, 0)
    assert fixed["recall@10"] >= of_new and figures[TASK]["recall@10"] >= 0.9
    curves = (new.path / "metrics" / "train.jsonl").read_text().splitlines()
    assert f"{TASK}@{COLUMN}/accuracy" in json.loads(curves[-1])
