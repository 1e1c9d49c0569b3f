"""Ablations and prefixes through the program, on small trained runs."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tfrs_sage.cli.main import main
from tfrs_sage.index import cut_to_prefix, load_index
from tfrs_sage.report.ranks import read_ranks

pytestmark = pytest.mark.integration
TASK = "search/product/click"


@pytest.fixture(scope="module")
def ablated(preprocessed, tmp_path_factory):
    """A run with an ablation of two variants, and the arguments that made it."""
    folder = tmp_path_factory.mktemp("ablated")
    shutil.copytree(preprocessed.path, folder / "run")
    plan = folder / "two.yaml"
    plan.write_text(json.dumps({"all": {}, f"only {TASK}": {"training.tasks": {TASK: {}}}}))
    arguments = ["ablate", f"--dir={folder / 'run'}", f"--plan={plan}", "--json"]
    assert main(arguments) == 0
    return folder / "run", arguments


def _variants(folder) -> dict:
    return json.loads((folder / "metrics" / "ablation-two.json").read_text())["variants"]


def test_ablations_are_equally_long_and_done_once(ablated) -> None:
    folder, arguments = ablated
    before = _variants(folder)
    both, single = before.values()
    assert both["steps"] == single["steps"] == 6
    assert both["pairs_per_step"] == single["pairs_per_step"]
    assert set(single["tasks"]) == {TASK} < set(both["tasks"])
    assert "search/product" in both["groups"] and not single["groups"]
    assert main(arguments) == 0
    assert _variants(folder) == before  # the seconds too: not trained again
    # The ranks of the checkpoint are those of the exported towers.
    variant = folder / "ablations" / "two" / "all-0"
    ranked = read_ranks(variant, "test")
    assert main(["evaluate", f"--dir={variant}"]) == 0
    exported = read_ranks(variant, "test")
    # `evaluate` also ranks tasks that have test pairs alone, which no variant is trained on.
    assert set(ranked) == set(both["tasks"]) <= set(exported)
    for task, one in ranked.items():
        assert (one.queries, one.candidates) == (exported[task].queries, exported[task].candidates)
        # Other batches, other roundings: only neighbours may change places.
        assert np.abs(one.ranks - exported[task].ranks).max() <= 1


def test_a_prefix_of_the_index_and_of_the_exports(ablated, capsys) -> None:
    from tfrs_sage.export.savedmodel import LoadedQueryTower, latest_version

    run = ablated[0] / "ablations" / "two" / "all-0"
    assert main(["evaluate", f"--dir={run}"]) == 0  # exports and embeds the variant
    capsys.readouterr()
    assert main(["index", f"--dir={run}", "--prefix=33"]) == 2
    assert "1 to 32, the width" in capsys.readouterr().err
    assert main(["index", f"--dir={run}", "--prefix=8", "--kind=brute_force", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["dimension"], made["report"]["prefix"]) == (8, 8)
    assert main(["export", f"--dir={run}", "--json"]) == 0  # of the index's prefix
    exported = json.loads(capsys.readouterr().out)
    texts = ["red sofa", "oak desk"]
    tower = LoadedQueryTower(latest_version(run / "saved_models", "query_tower"))
    vectors = tower(tf.constant(texts)).numpy()
    assert vectors.shape == (2, 32)
    ids, scores = load_index(run / "index" / "product").search(cut_to_prefix(vectors, 8), 5)
    search = tf.saved_model.load(exported["retrieval"]).signatures["search"]
    found = search(query=tf.constant(texts), k=tf.constant(5))
    assert [[one.decode() for one in row] for row in found["product_id"].numpy()] == ids.tolist()
    np.testing.assert_allclose(found["score"], scores, atol=1e-5)
