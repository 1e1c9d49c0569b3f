"""Plans of ablations: equally long trainings, single tasks, names of folders."""

import json
from pathlib import Path

import pytest

from tfrs_sage.errors import InputError
from tfrs_sage.report.ablation_plans import (
    folder_names,
    read_plan,
    task_groups,
    variant_settings,
)
from tfrs_sage.training.config import load_config, save_config

CLICK, BUY, PIN = "search/product/click", "search/product/checkout", "pin/product/click"
REFERENCE = {"steps": 40, "pairs_per_step": {CLICK: 30, BUY: 12}, "seconds": 9.0}
TINY = load_config("tiny")
PAIRS = {CLICK: 500, BUY: 20, PIN: 100, "search/query/click": 2, "search/pin/click": 50}


def test_itemsage_has_every_table_of_the_paper() -> None:
    plan = read_plan("itemsage", TINY, PAIRS, {})
    assert next(iter(plan.items())) == ("image + text", {})
    configs = {
        name: load_config("tiny", None, variant_settings(changes)) for name, changes in plan.items()
    }
    one = configs["transformer, 2 layers"].product_tower
    assert (one.fusion, one.num_layers) == ("transformer", 2)
    assert not configs["text only"].product_tower.use_images
    assert not configs["image only"].product_tower.use_text
    modes = {(one.loss.mode, one.loss.correct_negatives) for one in configs.values()}
    assert modes >= {(m, c) for m in ("mixed_sum", "in_batch", "random") for c in (True, False)}
    tables = [one for name, one in configs.items() if name.startswith("hash table")]
    assert [one.product_tower.hash_table_size for one in tables] == [1250, 80_000]
    assert [one.pin_tower.hash_table_size for one in tables] == [1250, 80_000]
    widths = [one.embedding_dim for name, one in configs.items() if name.startswith("embedding")]
    assert widths == [16, 128]
    single = [name for name in plan if name.startswith("only ")]
    assert single == ["only search/query/click", f"only {CLICK}"]  # the rarest, the largest


def test_itemsage_fits_what_there_is() -> None:
    assert not [
        one for one in read_plan("itemsage", TINY, {CLICK: 5}, {}) if one.startswith("only ")
    ]
    prefixes = load_config("tiny", None, ["loss.prefix_weights={16: 0.5, 64: 1.0}"])
    assert not [one for one in read_plan("itemsage", prefixes, PAIRS, {}) if "embedding" in one]


def test_losses_compares_single_tasks_with_all_of_them() -> None:
    plan = read_plan("losses", TINY, PAIRS, {})
    single = {name: changes for name, changes in plan.items() if name.startswith("only ")}
    assert list(single) == [f"only {one}" for one in (CLICK, PIN, "search/pin/click", BUY)]
    assert single[f"only {PIN}"] == {"training.tasks": {PIN: {}}}
    assert next(iter(plan)) == "mixed_sum"
    in_batch = load_config("tiny", None, ["loss.mode=in_batch"])
    names = list(read_plan("losses", in_batch, {CLICK: 5}, {}))  # a single task is all tasks
    assert names[:2] == ["in_batch", "mixed_sum"] and len(names) == 7


OWN = {
    "pin": ["title", "description", "link_domain"],
    "product": [
        *("title", "description", "link_domain", "link", "google_product_category"),
        *("product_type", "brand", "color", "material", "pattern", "size", "size_type"),
    ],
}


def test_omnisearchsage_adds_the_enrichments_in_turn() -> None:
    texts = {"pin": ["title", "caption", "engaged_queries"], "product": ["board_titles"]}
    plan = read_plan("omnisearchsage", TINY, PAIRS, texts)
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
    plan = read_plan("omnisearchsage", TINY, {CLICK: 5}, {"product": ["title", "caption"]})
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
        read_plan("omnisearchsage", TINY, pairs, texts)


def test_a_plan_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("wide: {embedding_dim: 64}\n2: {}\n")
    own = {"wide": {"embedding_dim": 64}, "2": {}}
    assert read_plan(str(tmp_path / "p.yaml"), TINY, PAIRS, {}) == own
    for wrong in ("[1]", "", "a: 3"):
        (tmp_path / "p.yaml").write_text(wrong)
        with pytest.raises(InputError, match="maps a variant to its settings"):
            read_plan(str(tmp_path / "p.yaml"), TINY, PAIRS, {})
    with pytest.raises(InputError, match="itemsage, losses, omnisearchsage or a YAML file"):
        read_plan("nonsense", TINY, PAIRS, {})


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


def test_folders_have_plain_names() -> None:
    names = folder_names(["image + text", "+ captions", "in_batch, no logQ", "hash table 1,250"])
    assert list(names.values()) == ["image-text", "captions", "in_batch-no-logq", "hash-table-1250"]
    with pytest.raises(InputError, match=r"Found: 'captions' beside '\+ captions'"):
        folder_names(["+ captions", "captions"])
    with pytest.raises(InputError, match=r"Found: '\+'\."):
        folder_names(["+"])


def test_groups_are_of_one_kind() -> None:
    assert task_groups([CLICK, PIN, BUY]) == {"search/product": [CLICK, BUY], "pin/product": [PIN]}
