"""What one row alone shows to be wrong; the same calls run on Beam's workers."""

import datetime
import json
import pickle

import pytest

from tfrs_sage.schema.rows import MALFORMED, Problem, check_row, is_action, is_inside_path, shown

PRODUCT = {"product_id": "s1", "title": "red sofa", "image_paths": ["images/1.jpg"]}
ENGAGEMENT = {
    "query_type": "search",
    "query": "sofa",
    "candidate_type": "product",
    "candidate": "s1",
    "action": "click",
    "timestamp": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    "split": None,
}


def test_good_rows_have_no_problems() -> None:
    assert check_row("products", PRODUCT) == []
    assert check_row("engagements", ENGAGEMENT) == []
    assert check_row("judgments", {"query": "q", "product_id": "p", "relevance": 2}) == []


@pytest.mark.parametrize(
    "table,change,column,kind",
    [
        ("products", {"product_id": 17}, "product_id", "type"),
        ("products", {"title": 3.5}, "title", "type"),
        ("products", {"image_paths": "images/1.jpg"}, "image_paths", "type"),
        ("products", {"image_paths": ["a.jpg", None]}, "image_paths", "type"),
        ("products", {"image_paths": [""]}, "image_paths", "value"),
        ("products", {"a_embedding": [True, False]}, "a_embedding", "type"),
        ("products", {"a_embedding": []}, "a_embedding", "width"),
        ("engagements", {"action": "a\tb"}, "action", "value"),
        ("engagements", {"action": 1}, "action", "type"),
        ("engagements", {"query_type": 1}, "query_type", "type"),
        ("engagements", {"timestamp": "2026-01-01"}, "timestamp", "type"),
        ("engagements", {"user_id": " "}, "user_id", "missing"),
        ("engagements", {"split": ""}, "split", "value"),
    ],
)
def test_each_rule(table: str, change: dict, column: str, kind: str) -> None:
    row = {**(PRODUCT if table == "products" else ENGAGEMENT), **change}
    (problem,) = check_row(table, row, 5, "file.csv")
    assert (problem.table, problem.row, problem.column) == (table, 5, column)
    assert (problem.kind, problem.source) == (kind, "file.csv")


def test_all_problems_of_a_row_are_told() -> None:
    problems = check_row("engagements", {"query_type": "x", "action": ""})
    assert {problem.column for problem in problems} == {
        "query_type",
        "query",
        "candidate_type",
        "candidate",
        "action",
    }


def test_width_is_checked_where_it_is_known() -> None:
    row = {**PRODUCT, "graph_embedding": [0.1, 0.2]}
    assert check_row("products", row) == []
    assert check_row("products", row, widths={"graph_embedding": 2}) == []
    (problem,) = check_row("products", row, widths={"graph_embedding": 3})
    assert (problem.found, problem.expected) == ("a vector of width 2", "width 3")


def test_unknown_columns_are_ignored() -> None:
    assert check_row("products", {**PRODUCT, "usage": object()}) == []


def test_malformed_cells_replace_the_null_that_stands_for_them() -> None:
    cell = [["relevance", "'good'", "a finite number"]]
    row = {"query": "q", "product_id": "p", "relevance": None, MALFORMED: json.dumps(cell)}
    (problem,) = check_row("judgments", row, 3)
    assert (problem.column, problem.found, problem.kind) == ("relevance", "'good'", "type")


def test_malformed_row_is_one_problem() -> None:
    row = {"query": None, MALFORMED: json.dumps([["", "'{'", "a JSON object"]])}
    (problem,) = check_row("judgments", row, 3)
    assert str(problem) == "table judgments, row 3: found '{', expected a JSON object"


def test_check_and_problem_are_picklable() -> None:
    assert pickle.loads(pickle.dumps(check_row)) is check_row
    problem = Problem("products", 1, "title", "7", "a string")
    assert pickle.loads(pickle.dumps(problem)) == problem


def test_found_values_are_cut() -> None:
    assert len(shown("x" * 10_000)) == 120


@pytest.mark.parametrize("word", ["click", "add_to_cart", "Käufe", "☆"])
def test_actions(word: str) -> None:
    assert is_action(word)


@pytest.mark.parametrize("word", ["", "a/b", "a b", "a\u00a0b", "a\nb", " a"])
def test_no_actions(word: str) -> None:
    assert not is_action(word)


@pytest.mark.parametrize("path", ["a.jpg", "images/product/a b.jpg", "a..b/c", "...", "..a/b"])
def test_paths_inside(path: str) -> None:
    assert is_inside_path(path)


@pytest.mark.parametrize(
    "path", ["", " ", "/a", "..", "../a", "a/..", "a/../b", "C:\\a", "a\\b", "gs://bucket/a"]
)
def test_paths_outside(path: str) -> None:
    assert not is_inside_path(path)
