"""Plans and tables of ablations: equally long trainings, single tasks, what is compared."""

import json
from pathlib import Path

import pytest

from tfrs_sage.cli.ablate import summary_table
from tfrs_sage.errors import InputError
from tfrs_sage.report.ablation import (
    PLANS,
    Outcome,
    columns,
    read_plan,
    summarise,
    task_groups,
    variant_settings,
)
from tfrs_sage.training.config import load_config, save_config

CLICK, BUY, PIN = "search/product/click", "search/product/checkout", "pin/product/click"
REFERENCE = {"steps": 40, "pairs_per_step": {CLICK: 30, BUY: 12}, "seconds": 9.0}


def test_losses_compares_single_tasks_with_all_of_them() -> None:
    pairs = {CLICK: 500, BUY: 20, PIN: 100, "search/query/click": 2, "search/pin/click": 50}
    plan = read_plan("losses", pairs)
    single = {name: changes for name, changes in plan.items() if name.startswith("only ")}
    assert list(single) == [f"only {one}" for one in (CLICK, PIN, "search/pin/click", BUY)]
    assert single[f"only {PIN}"] == {"training.tasks": {PIN: {}}}
    assert plan.items() >= PLANS["losses"].items() and next(iter(plan.values())) == {}
    assert read_plan("losses", {CLICK: 5}) == PLANS["losses"]  # a single task is all tasks
    assert read_plan("itemsage", pairs) == PLANS["itemsage"]


OWN = {
    "pin": ["title", "description", "link_domain"],
    "product": [
        *("title", "description", "link_domain", "link", "google_product_category"),
        *("product_type", "brand", "color", "material", "pattern", "size", "size_type"),
    ],
}


def test_omnisearchsage_adds_the_enrichments_in_turn() -> None:
    pairs = {CLICK: 500, BUY: 20, PIN: 100, "search/query/click": 2, "search/pin/click": 50}
    texts = {"pin": ["title", "caption", "engaged_queries"], "product": ["board_titles"]}
    plan = read_plan("omnisearchsage", pairs, texts)
    searches = {"search/product/checkout", CLICK, "search/query/click", "search/pin/click"}
    added = ["none", "+ captions", "+ board titles", "+ engaged queries"]
    assert list(plan)[:4] == added
    for number, name in enumerate(added):
        more = ["caption", "board_titles", "engaged_queries"][:number]
        assert plan[name]["pin_tower.texts"] == OWN["pin"] + more
        assert plan[name]["product_tower.texts"] == OWN["product"] + more
        assert set(plan[name]["training.tasks"]) == searches  # not pins to products
    assert list(plan)[4:] == ["only search/product", "only search/query", "only search/pin"]
    single = plan["only search/product"]
    assert set(single["training.tasks"]) == {CLICK, BUY}
    assert single["pin_tower.texts"] == plan["+ engaged queries"]["pin_tower.texts"]
    # What is not in the data is no variant; settings are such as the configuration takes.
    plan = read_plan("omnisearchsage", {CLICK: 5}, {"product": ["title", "caption"]})
    assert list(plan) == ["none", "+ captions"]
    config = load_config("tiny", None, variant_settings(plan["+ captions"], REFERENCE))
    assert config.product_tower.texts == (*OWN["product"], "caption")


@pytest.mark.parametrize(
    ("pairs", "texts", "message"),
    [
        ({PIN: 5}, {"pin": ["caption"]}, "search tasks none, enrichments caption"),
        ({CLICK: 5}, {"pin": ["title"]}, "search tasks search/product, enrichments none"),
    ],
)
def test_omnisearchsage_needs_searches_and_enrichments(pairs, texts, message) -> None:
    with pytest.raises(InputError, match=message):
        read_plan("omnisearchsage", pairs, texts)


def test_a_plan_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("wide: {embedding_dim: 64}\n")
    assert read_plan(str(tmp_path / "p.yaml")) == {"wide": {"embedding_dim": 64}}
    for wrong in ("[1]", "", "a: 3"):
        (tmp_path / "p.yaml").write_text(wrong)
        with pytest.raises(InputError, match="maps a variant to its settings"):
            read_plan(str(tmp_path / "p.yaml"))
    with pytest.raises(InputError, match="itemsage, losses, omnisearchsage or a YAML file"):
        read_plan("nonsense")


def test_variants_are_as_long_as_the_reference(tmp_path: Path) -> None:
    tasks = {CLICK: {"batch_size": 7}, BUY: {"weight": 2.0}}
    start = load_config("tiny", None, [f"training.tasks={json.dumps(tasks)}"])
    save_config(start, tmp_path / "config.yaml")

    def config_of(changes):
        return load_config("base", tmp_path / "config.yaml", variant_settings(changes, REFERENCE))

    single = config_of({"training.tasks": {BUY: {}}}).training
    assert list(single.tasks or ()) == [BUY]  # in place of the run's tasks, not beside them
    assert single.tasks[BUY].batch_size == 30 + 12 and single.steps == 40
    other = config_of({"loss.mode": "in_batch", "loss.correct_negatives": False})
    assert (other.loss.mode, other.loss.correct_negatives) == ("in_batch", False)
    assert other.training == start.training.model_copy(update={"steps": 40})
    assert config_of({"training.epochs": 2.0}).training.steps is None  # the plan's own length
    assert variant_settings({}) == []


def _figures(groups: dict[str, float], tasks: dict[str, float]) -> dict:
    return {
        "groups": {name: {"recall@10": value} for name, value in groups.items()},
        "tasks": {name: {"recall@10": value} for name, value in tasks.items()},
    }


@pytest.fixture
def summary() -> dict:
    groups = {"search/product": 0.5, "pin/product": 0.2}
    every = {CLICK: 0.6, BUY: 0.4, PIN: 0.2}
    noted = [REFERENCE, {**REFERENCE, "seconds": 11.0}]
    first = _figures(groups, every)
    second = _figures({**groups, "search/product": 0.7}, {**every, CLICK: 0.8})
    return summarise(
        {
            "all": Outcome([first, second], noted),
            f"only {BUY}": Outcome([_figures({}, {BUY: 0.3})], noted[:1]),
            f"only {PIN}": Outcome([_figures({"pin/product": 0.1}, {PIN: 0.1})], noted[:1]),
        }
    )


def test_the_summary_has_mean_spread_and_length(summary: dict) -> None:
    one = summary["all"]
    pooled = one["groups"]["search/product"]
    assert pooled == {"recall@10": pytest.approx(0.6), "std": pytest.approx(0.1), "num_seeds": 2}
    assert one["tasks"][CLICK]["recall@10"] == pytest.approx(0.7)
    assert (one["train_seconds"], one["steps"], one["pairs_per_step"]) == (10.0, 40, 42)
    assert set(summary[f"only {BUY}"]["tasks"]) == {BUY}


def test_the_table_compares_a_task_by_itself_with_all_tasks(summary: dict) -> None:
    # A group of one task is that task: it has no second column.
    assert columns(summary) == [
        ("groups", "search/product"),
        ("groups", "pin/product"),
        ("tasks", BUY),
    ]
    assert columns({"all": summary["all"]}) == columns(summary)[:2]
    table = summary_table("losses", summary)
    rows = list(zip(*(column.cells for column in table.columns), strict=True))
    assert rows == [
        ("all", "0.600 ±0.100", "0.200 ±0.000", "0.400 ±0.000", "10"),
        (f"only {BUY}", "-", "-", "0.300 ±0.000", "9"),
        (f"only {PIN}", "-", "0.100 ±0.000", "-", "9"),
    ]


def test_groups_are_of_one_kind() -> None:
    assert task_groups([CLICK, PIN, BUY]) == {"search/product": [CLICK, BUY], "pin/product": [PIN]}
