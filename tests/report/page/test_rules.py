"""What is shown is chosen by rule: cases, products, points, tasks; and figures worked by hand."""

import numpy as np
import pytest

from tfrs_sage.report.catalogue_fields import CatalogueFields
from tfrs_sage.report.page.attention_section import attention_on, chosen_products
from tfrs_sage.report.page.checks_section import grouped
from tfrs_sage.report.page.cls_attention import CLS, Attention, averages
from tfrs_sage.report.page.curves_section import drawn_tasks, smoothed
from tfrs_sage.report.page.data_section import filled, text_lengths, top_share
from tfrs_sage.report.page.figures_section import best_baseline, verdict
from tfrs_sage.report.page.map_section import OTHER, kinds_of, on_board, sampled
from tfrs_sage.report.page.neighbours_section import chosen_cases, shown_tasks
from tfrs_sage.report.ranks import TaskRanks


def ranks_of(pairs):
    queries, candidates, ranks = zip(*pairs, strict=True)
    return TaskRanks(list(queries), list(candidates), np.array(ranks), 100)


def test_cases_are_the_best_a_draw_and_the_worst() -> None:
    # The rank of q is that of its best positive: q0 has 0 + 1 by "x", and "y" at 50.
    pairs = [(f"q{n}", "x", n + 1) for n in range(20)] + [("q0", "y", 50), ("q7", "z", 2)]
    found = chosen_cases(ranks_of(pairs), seed=3, number=2)
    assert [(one.query, one.rank) for one in found["good"][:1]] == [("q0", 1)]
    assert found["good"][1].query in ("q1", "q7") and found["good"][1].rank == 2
    assert [one.query for one in found["bad"]] == ["q19", "q18"]
    assert found["good"][0].positives == {"x": 1, "y": 50}
    again = chosen_cases(ranks_of(list(reversed(pairs))), seed=3, number=2)
    assert again == found  # whatever the order of the rows
    drawn = {chosen_cases(ranks_of(pairs), seed, 1)["random"][0].query for seed in range(40)}
    assert len(drawn) > 10
    assert len(chosen_cases(ranks_of(pairs[:1]), 0, 4)["bad"]) == 1


def test_a_task_of_each_kind_is_shown() -> None:
    few, many = ranks_of([("q", "x", 1)]), ranks_of([("q", "x", 1), ("r", "x", 2)])
    every = {
        "search/product/click": few,
        "search/product/save": many,
        "search/product/save@graph_embedding": many,
        "search/query/click": many,
        "pin/product/click": few,
    }
    assert shown_tasks(every) == ["search/product/save", "pin/product/click"]


def attention(name, image, title):
    return Attention(name, {CLS: 1 - image - title, "image 1": image, "title": title})


def test_attention_is_averaged_over_those_that_have_it() -> None:
    two = Attention("b", {CLS: 0.2, "image 1": 0.1, "image 2": 0.3, "image 3": 0.2, "title": 0.2})
    no_image = Attention("c", {CLS: 0.5, "title": 0.5})
    found = averages([attention("a", 0.5, 0.1), two, no_image])
    assert found["main image"]["mean"] == pytest.approx((0.5 + 0.1) / 2)
    assert found["main image"]["products"] == pytest.approx(2 / 3)
    assert found["main image"]["equal"] == pytest.approx((1 / 3 + 1 / 5) / 2)
    assert found["further images"] == pytest.approx({"mean": 0.5, "equal": 0.4, "products": 1 / 3})
    assert found["title"]["mean"] == pytest.approx((0.1 + 0.2 + 0.5) / 3)
    assert two.images == pytest.approx(0.6)


def test_products_of_most_middle_and_least_attention() -> None:
    every = [attention(f"p{n}", n / 20, 0.01) for n in range(9)]
    every.append(Attention("none", {CLS: 0.5, "title": 0.5}))
    found = chosen_products(every, "images")
    names = {kind: [one.product for one in some] for kind, some in found.items()}
    assert names == {"most": ["p8", "p7"], "middle": ["p5", "p4"], "least": ["p1", "p0"]}
    assert attention_on(every[-1], "images") is None and attention_on(every[-1], "title") == 0.5
    few = chosen_products(every[:3], "images")
    assert [len(one) for one in few.values()] == [2, 1, 0]


def test_points_with_pictures_come_first_up_to_half() -> None:
    with_images = np.zeros(1000, bool)
    with_images[:30] = True
    rows = sampled(with_images, 0, 100)
    assert len(rows) == len(set(rows)) == 100 and (rows < 30).sum() == 30
    with_images[:] = True
    assert len(sampled(with_images, 0, 100)) == 100
    with_images[500:] = False
    half = sampled(with_images, 0, 100)
    assert (half < 500).sum() >= 50 and list(half) == sorted(half)
    assert list(sampled(with_images[:3], 0, 100)) == [0, 1, 2]


def test_kinds_by_the_first_part_that_tells_apart() -> None:
    categories = ["Home > Sofas"] * 3 + ["Home > Lamps"] * 2 + [""]
    fields = CatalogueFields(
        {f"p{n}": n for n in range(6)},
        {"google_product_category": categories, "brand": ["a", "b"] * 3},
        np.zeros(6, np.int64),
    )
    column, kinds = kinds_of(fields, [f"p{n}" for n in range(6)])
    assert column == "google_product_category"
    assert kinds == ["Home > Sofas"] * 3 + ["Home > Lamps"] * 2 + [OTHER]
    empty = CatalogueFields({"p0": 0}, {"title": ["x"]}, np.zeros(1, np.int64))
    assert kinds_of(empty, ["p0"]) == (None, [OTHER])


def test_the_board_keeps_proportions() -> None:
    for places in ([[0.0, 0.0], [10.0, 5.0]], [[0.0, 0.0], [5.0, 10.0]]):
        xs, ys, height = on_board(np.array(places))
        assert (xs[1] - xs[0]) == pytest.approx(2 * (ys[1] - ys[0]))
        assert height == pytest.approx(ys[1] + ys[0])  # the same margin above and below


def test_warnings_by_task() -> None:
    warnings = ["b: too few", "a: it leaks", "5 are alike", "b: it drifts", "2 pins are alike"]
    assert grouped(warnings, ["a", "b"]) == [
        ("a", "it leaks"), ("b", "too few; it drifts"), ("", "5 are alike"),
        ("", "2 pins are alike"),
    ]  # fmt: skip


def test_verdict_needs_intervals_that_do_not_meet() -> None:
    def figures(value, low, high):
        return {"recall@10": value, "intervals": {"recall@10": [low, high]}}

    model = figures(0.5, 0.45, 0.55)
    weak, near, strong = figures(0.3, 0.2, 0.4), figures(0.45, 0.4, 0.5), figures(0.7, 0.6, 0.8)
    random = {"recall@10": 0.01}
    assert verdict({**model, "random": random, "bm25": weak}) == "above BM25"
    assert verdict({**model, "bm25": near}) == "not clearly apart from BM25"
    assert verdict({**model, "bm25": weak, "popular": strong}) == "below most popular"
    assert best_baseline({**model, "random": random, "bm25": weak})[0] == "BM25"


def test_curves_are_means_of_blocks() -> None:
    assert smoothed([1.0, 3.0, 5.0, 7.0, 10.0], 3) == ([1, 3, 4], [2.0, 6.0, 10.0])
    assert smoothed([1.0, 2.0], 9) == ([0, 1], [1.0, 2.0])
    pairs = {f"search/product/a{n}": n for n in range(9)}
    assert drawn_tasks(list(pairs), pairs) == sorted(pairs)[2:]


def test_lengths_and_shares_of_the_data() -> None:
    assert filled(["a", " ", ""]) == 1 and text_lengths(["", " "]) is None
    found = text_lengths(["a b", "", "a b c d", "a b c"])
    assert found == {"mean": 3.0, "median": 3.0, "p90": pytest.approx(3.8), "most": 4}
    # 10 items, 4 met: 6 + 2 + 1 + 1 pairs. A tenth of the items is one of them.
    counts = np.array([6.0, 2.0, 1.0, 1.0])
    assert top_share(counts, 10, 0.1) == 0.6 and top_share(counts, 10, 0.2) == 0.8
    assert top_share(counts, 10, 0.01) == 0.6
