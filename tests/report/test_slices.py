"""Slices of a run made by hand: whose pairs stand under which label."""

import numpy as np
import pytest

from tests.report.shop_run import PAIRS, SEARCH, SIMILAR, write_shop
from tfrs_sage.errors import InputError
from tfrs_sage.report.ranks import TaskRanks
from tfrs_sage.report.slices import Slices
from tfrs_sage.schema.features import Task


@pytest.fixture
def slices(tmp_path) -> Slices:
    write_shop(tmp_path)
    return Slices(tmp_path)


def ranks_of(task: str, ranks: list[int]) -> TaskRanks:
    queries, candidates = zip(*PAIRS[task]["test"], strict=True)
    return TaskRanks(list(queries), list(candidates), np.array(ranks), 12)


def hits(figures: dict) -> dict:
    """By label, number of pairs and recall@10."""
    return {label: (one["num_pairs"], one["recall@10"]) for label, one in figures.items()}


def test_search_by_every_slice(slices) -> None:
    # red -> p02 (seen), "blue sofa" -> p06 (seen), "oak wood or wood" -> p05 (never seen).
    names = slices.names(["all", "brand"])
    found = slices.figures(Task.parse(SEARCH), ranks_of(SEARCH, [1, 11, 3]), names)
    assert list(found) == ["new", "image", "popularity", "query_frequency", "query_length", "brand"]
    assert hits(found["new"]) == {"new": (1, 1.0), "seen": (2, 0.5)}
    assert hits(found["image"]) == {"without image": (3, 2 / 3)}
    # Of 12 products six were never met, five once, p01 twice: middles at 3, 8.5 and 11.5 of 12.
    assert hits(found["popularity"]) == {"decile 3": (1, 1.0), "decile 8": (2, 0.5)}
    assert hits(found["query_frequency"]) == {
        "met 0 times": (2, 0.5),
        "met 1-4 times": (1, 1.0),
    }
    assert hits(found["query_length"]) == {"1-2 words": (2, 0.5), "3-4 words": (1, 1.0)}
    assert hits(found["brand"]) == {"Acme": (1, 0.0), "Bolt": (2, 1.0)}
    low, high = found["new"]["seen"]["intervals"]["recall@10"]
    assert (low, high) == (0.0, 1.0)


def test_items_as_queries(slices) -> None:
    ranks = ranks_of(SIMILAR, [1, 2, 30])
    found = slices.figures(Task.parse(SIMILAR), ranks, ["image", "query_frequency", "material"])
    assert hits(found["image"]) == {"with image": (1, 1.0), "without image": (2, 0.5)}
    assert hits(found["query_frequency"])["met 1-4 times"] == (1, 1.0)  # p04
    assert hits(found["material"]) == {"(none)": (3, 2 / 3)}  # no row has one


def test_texts_have_no_columns(tmp_path) -> None:
    task = "search/query/click"
    pairs = {task: {"train": [("a", "b"), ("c", "b")], "test": [("a", "d")]}}
    write_shop(tmp_path, pairs)
    slices = Slices(tmp_path)
    ranks = TaskRanks(["a"], ["d"], np.array([1]), 3)
    found = slices.figures(Task.parse(task), ranks, slices.names(["all", "brand"]))
    assert set(found) == {"new", "popularity", "query_frequency", "query_length"}
    assert list(found["new"]) == ["new"]


def test_unknown_slices_are_refused(slices) -> None:
    assert slices.names(["new", "all"])[0] == "new"
    with pytest.raises(InputError, match=r"a text column of the candidates. Received: 'colour'"):
        slices.names(["colour"])
