"""Tables of ablations: over queries, over seeds, against the reference."""

import numpy as np
import pytest

from tfrs_sage.cli.ablate import chosen_variants, summary_table
from tfrs_sage.report.ablation import Outcome, columns, summarise
from tfrs_sage.report.ranks import TaskRanks

CLICK, BUY, PIN = "search/product/click", "search/product/checkout", "pin/product/click"
GROUPS = {"search/product": [CLICK, BUY], "pin/product": [PIN]}


def ranks_of(*found: int, size: int = 40, query: str = "q") -> TaskRanks:
    """So many pairs, one a query, of which those of the numbers `found` are first and not last."""
    ranks = np.full(size, 99)
    ranks[list(found)] = 1
    return TaskRanks(
        [f"{query}{n:02}" for n in range(size)], [f"p{n}" for n in range(size)], ranks, 100
    )


def noted(seconds: float) -> dict:
    return {"steps": 40, "pairs_per_step": {CLICK: 30, BUY: 12}, "seconds": seconds}


@pytest.fixture
def summary() -> dict:
    buy = ranks_of(0, size=2, query="b")
    first = {CLICK: ranks_of(*range(20)), BUY: buy, PIN: ranks_of()}
    second = {CLICK: ranks_of(*range(24)), BUY: buy, PIN: ranks_of()}
    outcomes = {
        "all": Outcome([first, second], [noted(9.0), noted(11.0)]),
        "better": Outcome([{**first, CLICK: ranks_of(*range(30))}], [noted(9.0)]),
        f"only {BUY}": Outcome([{BUY: ranks_of(0, 1, size=2, query="b")}], [noted(9.0)]),
        f"only {PIN}": Outcome([{PIN: ranks_of()}], [noted(9.0)]),
    }
    return summarise(outcomes, GROUPS)


def test_queries_and_seeds_are_told_apart(summary: dict) -> None:
    cell = summary["all"]["tasks"][CLICK]
    assert cell["seeds"] == [0.5, 0.6] and cell["recall@10"] == pytest.approx(0.55)
    assert cell["std"] == pytest.approx(0.1 / np.sqrt(2))  # of a sample of two
    # Over queries: 20 are always found, 4 half of the time, so a standard error of
    # sqrt((20 + 4 / 4) / 40 - 0.55^2) / sqrt(40) = 0.075; the interval is 1.96 of them either way.
    low, high = cell["interval"]
    assert (high - low) / 2 == pytest.approx(1.96 * 0.075, rel=0.1)
    assert low < 0.55 < high and "against_reference" not in cell
    assert summary["better"]["tasks"][CLICK]["std"] is None  # one seed says nothing of others
    one = summary["all"]
    assert (one["train_seconds"], one["steps"], one["pairs_per_step"]) == (10.0, 40, 42)


def test_differences_are_paired_over_the_seeds_that_both_have(summary: dict) -> None:
    against = summary["better"]["tasks"][CLICK]["against_reference"]
    assert against["difference"] == pytest.approx(10 / 40)  # to the first seed: 0.75 - 0.5
    low, high = against["interval"]
    assert 0 < low < 0.25 < high < 0.45
    assert against["p_value"] == pytest.approx(2**-9, abs=0.003)  # ten signs, either way
    same = summary["better"]["tasks"][PIN]["against_reference"]
    assert (same["difference"], same["p_value"]) == (0.0, 1.0)
    pooled = summary["all"]["groups"]["search/product"]
    assert pooled["seeds"] == pytest.approx([21 / 42, 25 / 42])


def test_a_variant_has_the_tasks_that_it_was_trained_on(summary: dict) -> None:
    single = summary[f"only {BUY}"]
    assert set(single["tasks"]) == {BUY} and not single["groups"]
    assert single["tasks"][BUY]["against_reference"]["difference"] == pytest.approx(0.5)
    assert set(summary[f"only {PIN}"]["groups"]) == {"pin/product"}


def test_the_table_compares_a_task_by_itself_with_all_tasks(summary: dict) -> None:
    # A group of one task is that task: it has no second column.
    shown = [("groups", "search/product"), ("groups", "pin/product"), ("tasks", BUY)]
    assert columns(summary) == shown
    assert columns({"all": summary["all"]}) == shown[:2]
    table = summary_table("losses", summary)
    rows = list(zip(*(column.cells for column in table.columns), strict=True))
    assert [row[:3] for row in rows] == [
        ("search/product (all)", "all", "0.548"),
        ("search/product (all)", "better", "0.738"),
        ("pin/product (all)", "all", "0.000"),
        ("pin/product (all)", "better", "0.000"),
        ("pin/product (all)", f"only {PIN}", "0.000"),
        (BUY, "all", "0.500"),
        (BUY, "better", "0.500"),
        (BUY, f"only {BUY}", "1.000"),
    ]
    assert [row[4] for row in rows[:2]] == ["0.067", ""]  # no spread of a single seed
    assert rows[0][5:8] == ("", "", "") and rows[1][5] == "+0.238"


def test_what_equals_the_reference_is_left_out() -> None:
    plan = {"base": {}, "mixed": {"mode": "mixed"}, "random": {"mode": "random"}}
    kept = chosen_variants(plan, lambda changes: {"mode": "mixed", **changes})
    assert list(kept) == ["base", "random"]
