"""Mined negatives: planted geometry by hand, and a random run against a NumPy oracle."""

import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beam_pipelines.hard_negatives import MiningConfig
from beam_pipelines.mine_negatives import mine_negatives, run
from beam_pipelines.records import prefixed
from tests.beam_pipelines.embedded_run import (
    Pairs,
    Vectors,
    entity_record,
    write_embeddings,
    write_run,
)
from tests.beam_pipelines.reading import all_bytes, read_records
from tfrs_sage.artefacts import read_manifest, write_json
from tfrs_sage.cli.main import main
from tfrs_sage.errors import InputError
from tfrs_sage.index import build_index, read_embeddings


def at(degrees: float) -> np.ndarray:
    return np.array([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))])


# The query "sofa" lies at 0 degrees: a product at 40 degrees scores cos 40 = 0.766.
PRODUCTS = {"saved": 20, "clicked": 30, "double": 32, "hard": 40, "lamp": 100}
PRODUCTS |= {"far1": 170, "far2": 175, "far3": 180, "far4": 186}
PLANTED_VECTORS = {
    "query": {"a sofa": at(0), "a lamp": at(180), "only judged": at(0)},
    "product": {name: at(degrees) for name, degrees in PRODUCTS.items()},
}
PLANTED_PAIRS: Pairs = {
    "train/search/product/click": [("a sofa", "clicked"), ("a lamp", "lamp")],
    "train/search/product/save": [("a sofa", "saved")],
    "train/product/product/click": [("clicked", "double")],
    # Were it consulted, the one candidate that is left for the click would be a positive.
    "validation/search/product/click": [("a sofa", "hard")],
    "test/search/product/click": [("a sofa", "hard"), ("only judged", "hard")],
}
DEPTH_4 = MiningConfig(depth=4)


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", PLANTED_PAIRS, PLANTED_VECTORS)


def negatives(run_dir: Path, task: str) -> dict[tuple[str, str], str | None]:
    """The negative of each (query, candidate) of a task."""
    return {
        (r["query/id"].decode(), r["candidate/id"].decode()): (
            r["negative/id"].decode() if "negative/id" in r else None
        )
        for r in read_records(run_dir / "mined", f"{task}-*")
    }


def test_the_planted_negative_is_found_and_the_others_dropped(planted: Path) -> None:
    # The nearest 4 of "a sofa": saved .940, clicked .866, double .848, hard .766. For the click,
    # `saved` is a positive of another action, `double` is above .866 - .05 = .816: hard is left.
    # The nearest 4 of "a lamp" are the far ones, all above the positive's cos 80 = .174.
    manifest = mine_negatives(planted, DEPTH_4)
    found = negatives(planted, "search/product/click")
    assert found == {("a sofa", "clicked"): "hard", ("a lamp", "lamp"): None}
    assert manifest["tasks"]["search/product/click"] == {
        "pairs": 2,
        "with_negative": 1,
        "candidates": 8,
        "skipped_top": 0,
        "known_positives": 2,
        "within_margin": 5,
        "left": 1,
        "mean_rank": 4.0,
        "mean_score": pytest.approx(0.766, abs=1e-3),
    }
    # Of the save, whose positive is at .940, two are left, and one of them is taken.
    assert manifest["tasks"]["search/product/save"]["left"] == 2
    assert negatives(planted, "search/product/save")["a sofa", "saved"] in ("double", "hard")


def test_a_query_is_no_negative_of_itself(planted: Path) -> None:
    # `clicked` asks; the nearest 2 are itself and its positive. With no margin its own score of 1
    # is above the positive's all the same: what counts is where it is counted.
    manifest = mine_negatives(planted, MiningConfig(depth=2, margin=0), ["product/product/click"])
    counts = manifest["tasks"]["product/product/click"]
    assert (counts["known_positives"], counts["within_margin"]) == (2, 0)


def test_records_keep_the_pair_and_take_the_negatives_fields(planted: Path) -> None:
    mine_negatives(planted, DEPTH_4)
    pairs = read_records(planted / "examples", "train/search/product/click-*")
    for record in read_records(planted / "mined", "search/product/click-*"):
        negative = {k: v for k, v in record.items() if k.startswith("negative/")}
        assert {k: v for k, v in record.items() if k not in negative} in pairs
        expected = dict(prefixed(entity_record("hard"), "negative/"))
        assert negative == (expected if record["query/id"] == b"a sofa" else {})


def test_manifest_says_what_it_was_mined_from(planted: Path) -> None:
    mine_negatives(planted, DEPTH_4)
    manifest = read_manifest(planted / "mined")
    files = {name for name in all_bytes(planted / "mined") if name != "manifest.json"}
    assert set(manifest["files"]) == files  # nothing that workers needed is left behind
    assert sum(file["records"] for file in manifest["files"].values()) == 4
    assert (manifest["depth"], manifest["margin"], manifest["seed"]) == (4, 0.05, 0)
    assert manifest["embeddings"]["product"]["model_fingerprint"] == "f" * 16
    changed = read_manifest(planted / "examples")
    changed["files"]["train/search/product/save-00000-of-00001.tfrecord"]["records"] = 9
    write_json(planted / "examples" / "manifest.json", changed)
    assert mine_negatives(planted, DEPTH_4)["examples"] != manifest["examples"]


def test_skipping_the_top_and_choosing_tasks(planted: Path) -> None:
    # The nearest two are skipped whatever they are; the positives of the click count all the same.
    config = MiningConfig(depth=4, skip_top=2)
    counts = mine_negatives(planted, config, ["search/product/save"])["tasks"]
    assert list(counts) == ["search/product/save"]
    fates = [counts["search/product/save"][k] for k in ("skipped_top", "known_positives", "left")]
    assert fates == [2, 0, 2]
    assert not list((planted / "mined").glob("search/product/click-*"))


def test_the_margin_is_inclusive_of_nothing_above_it(planted: Path) -> None:
    # .866 - .766 = .1000 to four digits: `hard` is dropped from a margin of .101 on.
    for margin, expected in ((0.099, "hard"), (0.101, None)):
        mine_negatives(planted, MiningConfig(depth=4, margin=margin))
        assert negatives(planted, "search/product/click")["a sofa", "clicked"] == expected


NUM_QUERIES, NUM_PRODUCTS = 600, 80


@pytest.fixture(scope="module")
def random_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Pairs, Vectors]:
    """600 queries, so three batches; two actions with common queries."""
    generator = np.random.default_rng(3)

    def unit(number: int, prefix: str) -> dict[str, np.ndarray]:
        vectors = generator.normal(size=(number, 8)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return {f"{prefix}{row}": vector for row, vector in enumerate(vectors)}

    vectors = {"query": unit(NUM_QUERIES, "q"), "product": unit(NUM_PRODUCTS, "p")}
    pairs: Pairs = {}
    for action in ("click", "save"):
        drawn = {
            (f"q{generator.integers(NUM_QUERIES)}", f"p{generator.integers(NUM_PRODUCTS)}")
            for _ in range(900)
        }
        pairs[f"train/search/product/{action}"] = sorted(drawn)
    folder = write_run(tmp_path_factory.mktemp("random") / "run", pairs, vectors)
    mine_negatives(folder, MiningConfig(depth=20))
    return folder, pairs, vectors


def test_every_choice_is_one_that_numpy_allows(random_run: tuple[Path, Pairs, Vectors]) -> None:
    folder, pairs, vectors = random_run
    products = vectors["product"]
    positives = defaultdict(set)
    for some in pairs.values():
        for query, candidate in some:
            positives[query].add(candidate)
    ranks = []
    for name, some in pairs.items():
        found = negatives(folder, name.removeprefix("train/"))
        assert set(found) == set(some)
        for (query, candidate), negative in found.items():
            scores = {p: float(vectors["query"][query] @ v) for p, v in products.items()}
            nearest = sorted(scores, key=lambda p: -scores[p])[:20]
            bound = scores[candidate] - 0.05
            allowed = [p for p in nearest if p not in positives[query] and scores[p] <= bound]
            assert (negative in allowed) if allowed else (negative is None)
            if len(allowed) >= 5:
                ranks.append(allowed.index(negative) / (len(allowed) - 1))
    # The choice is even: 250 draws from 0 to 1 have a mean within 0.08, four deviations, of 1/2.
    assert len(ranks) > 250
    assert abs(np.mean(ranks) - 0.5) < 0.08


@pytest.mark.parametrize(
    "workers",
    [
        ["--direct_running_mode=multi_threading", "--direct_num_workers=2"],
        pytest.param(
            ["--direct_running_mode=multi_processing", "--direct_num_workers=2"],
            marks=pytest.mark.integration,
        ),
    ],
)
def test_two_workers_write_the_same_bytes(
    random_run: tuple[Path, Pairs, Vectors], workers: list[str]
) -> None:
    folder, _, _ = random_run
    before = all_bytes(folder / "mined")
    mine_negatives(folder, MiningConfig(depth=20), None, workers)
    assert all_bytes(folder / "mined") == before


def test_another_seed_chooses_others(planted: Path) -> None:
    chosen = set()
    for seed in range(4):
        mine_negatives(planted, MiningConfig(depth=4, seed=seed))
        chosen.add(negatives(planted, "search/product/save")["a sofa", "saved"])
        assert negatives(planted, "search/product/click")["a sofa", "clicked"] == "hard"
    assert chosen == {"double", "hard"}


@pytest.mark.parametrize("stale", [False, True])
def test_a_saved_index_is_used_when_it_holds_these_embeddings(
    planted: Path, stale: bool, caplog: pytest.LogCaptureFixture
) -> None:
    if stale:
        pytest.importorskip("scann", reason="ScaNN has no wheel for this platform")
    caplog.set_level("INFO", "beam_pipelines")
    ids, vectors = read_embeddings(planted / "embeddings" / "product")
    build_index(-vectors if stale else vectors, ids).save(planted / "index" / "product")
    mine_negatives(planted, MiningConfig(depth=4, exact_below=0), ["search/product/click"])
    assert negatives(planted, "search/product/click")["a sofa", "clicked"] == "hard"
    assert ("building a scann index over 9 embeddings" in caplog.text) == stale


def test_command_lines(planted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = run(["--run_dir", str(planted), "--depth=4", "--direct_num_workers=1"])
    assert main(["mine-negatives", "--dir", str(planted), "--depth", "4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == job
    assert main(["mine-negatives", "--dir", str(planted), "--margin", "3"]) == 2
    assert "`margin` is a difference of two cosines" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"depth": 0}, "`depth` must be at least 1. Received: 0"),
        ({"margin": -0.1}, "at least 0 and below 2. Received: -0.1"),
        ({"margin": math.nan}, "Received: nan"),
        ({"depth": 5, "skip_top": 5}, "below the depth of 5. Received: 5"),
    ],
)
def test_settings_out_of_range(values: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        MiningConfig(**values)


def test_what_is_missing_is_told_and_the_last_result_kept(planted: Path) -> None:
    mine_negatives(planted, DEPTH_4)
    before = all_bytes(planted / "mined")
    with pytest.raises(InputError, match="Received: search/product/buy; there are product/"):
        mine_negatives(planted, DEPTH_4, ["search/product/buy"])
    fewer = {k: v for k, v in PLANTED_VECTORS["product"].items() if k != "lamp"}
    write_embeddings(planted / "embeddings" / "product", fewer)
    with pytest.raises(InputError, match="of 0 queries and of the candidate of 1 pairs, no record"):
        mine_negatives(planted, DEPTH_4)
    write_embeddings(planted / "embeddings" / "query", {"a sofa": at(0)})
    with pytest.raises(InputError, match="no embedding of 1 queries"):
        mine_negatives(planted, DEPTH_4)
    (planted / "embeddings" / "query" / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"none of query in .* Run `tfrs-sage embed --dir"):
        mine_negatives(planted, DEPTH_4)
    assert all_bytes(planted / "mined") == before
    assert sorted(path.name for path in planted.glob(".mined*")) == []
