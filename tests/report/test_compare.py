"""Comparison of two runs by the ranks that they left; what can and what cannot be compared."""

import json
from pathlib import Path

import numpy as np
import pytest

from tfrs_sage.cli.main import main
from tfrs_sage.errors import InputError
from tfrs_sage.evaluation import metrics_of_ranks, paired_test, recall_per_query
from tfrs_sage.report.compare import compare_runs
from tfrs_sage.report.ranks import TaskRanks, pooled, read_ranks, write_ranks

CLICK, SAVE = "search/product/click", "search/product/save"


def ranks_of(values: list[int], first: int = 0, index_size: int = 500) -> TaskRanks:
    """Pairs in a row, three to a query at first, then six."""
    rows = range(first, first + len(values))
    queries = [f"query {row // 3}" if row < 120 else f"long query {row // 6}" for row in rows]
    candidates = [f"p{row}" for row in rows]
    return TaskRanks(queries, candidates, np.array(values, np.int64), index_size)


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """A run, and one that is better at clicks and like it at saves."""
    random = np.random.default_rng(0)
    worse = random.integers(1, 200, size=240)
    better = np.maximum(1, worse - random.integers(60, size=240))
    a, b = tmp_path / "a", tmp_path / "b"
    write_ranks(a, "test", {CLICK: ranks_of(worse.tolist()), SAVE: ranks_of([5, 50], 238)})
    write_ranks(b, "test", {CLICK: ranks_of(better.tolist()), SAVE: ranks_of([5, 50], 238)})
    return a, b


def test_ranks_come_back_as_they_were(runs) -> None:
    ranks = read_ranks(runs[0], "test")
    assert list(ranks) == [CLICK, SAVE] and ranks[CLICK].index_size == 500
    assert ranks[CLICK].queries[3:5] == ["query 1", "query 1"]
    assert ranks[SAVE].ranks.tolist() == [5, 50]
    with pytest.raises(InputError, match=r"no ranks-train.parquet. Run `tfrs-sage evaluate --dir"):
        read_ranks(runs[0], "train")


def test_figures_are_those_of_the_paired_test(runs) -> None:
    result = compare_runs(*runs, num_samples=500)
    a, b = (read_ranks(run, "test")[CLICK] for run in runs)
    task = result["tasks"][CLICK]
    values, weights = recall_per_query(a.ranks, a.pair_query, 10)
    others, _ = recall_per_query(b.ranks, b.pair_query, 10)
    assert task["recall@10"] == paired_test(values, others, weights, 500)._asdict()
    assert task["recall@10"]["a"] == metrics_of_ranks(a.ranks, a.pair_query, 500)["recall@10"]
    assert task["recall@10"]["p_value"] < 0.01 and task["recall@10"]["low"] > 0
    assert task["num_queries"] == 60 and task["num_left_out"] == 0
    assert result["tasks"][SAVE]["mrr"]["p_value"] == 1.0


def test_a_group_counts_shared_pairs_once(runs) -> None:
    result = compare_runs(*runs, groups={"all": [CLICK, SAVE]}, num_samples=100)
    assert result["groups"]["all"]["num_pairs"] == 240  # both saves are clicks too
    both = pooled([ranks_of([1, 2]), ranks_of([2, 3], 1)])
    assert both.candidates == ["p0", "p1", "p2"] and both.ranks.tolist() == [1, 2, 3]
    with pytest.raises(InputError, match=r"both runs have. Received: x/y/z"):
        compare_runs(*runs, groups={"all": [CLICK, "x/y/z"]})


def test_pairs_of_one_run_alone_are_left_out_and_counted(runs) -> None:
    a, b = runs
    write_ranks(b, "test", {CLICK: ranks_of([1] * 30, 231)})
    result = compare_runs(a, b, num_samples=100)
    assert set(result["tasks"]) == {CLICK}
    task = result["tasks"][CLICK]
    assert task["num_pairs"] == 9 and task["num_left_out"] == 231 + 21
    assert task["mrr"]["b"] == 1.0


def test_what_cannot_be_compared(runs) -> None:
    a, b = runs
    write_ranks(b, "test", {CLICK: ranks_of([1, 2], index_size=501)})
    with pytest.raises(InputError, match="500 and 501"):
        compare_runs(a, b)
    write_ranks(b, "test", {CLICK: ranks_of([1, 2], 900)})
    with pytest.raises(InputError, match=f"share pairs of {CLICK}. Found: none"):
        compare_runs(a, b)
    write_ranks(b, "test", {"pin/product/click": ranks_of([1])})
    with pytest.raises(InputError, match="tasks that both have"):
        compare_runs(a, b)


def test_on_the_command_line(runs, capsys) -> None:
    arguments = ["compare", "--a", str(runs[0]), "--b", str(runs[1]), "--samples", "100"]
    assert main([*arguments, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["tasks"][CLICK]["recall@10"]["difference"] > 0
    assert main([*arguments, "--group", f"all={CLICK},{SAVE}"]) == 0
    told = capsys.readouterr().out
    assert "all" in told and "95% interval" in told and "+0.0" in told
    assert main(["compare", "--a", str(runs[0]), "--b", str(runs[0] / "none")]) == 2
    assert "Run `tfrs-sage evaluate" in capsys.readouterr().err
