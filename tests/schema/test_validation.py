"""Planted mistakes: the report names each by table, row and column, and nothing else."""

import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import Rows, write_table, write_tables
from tfrs_sage.errors import InputError
from tfrs_sage.schema.validation import Problem, validate_tables

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"


def places(problems: list[Problem]) -> list[tuple[str, int | None, str, str]]:
    return [(p.table, p.row, p.column, p.kind) for p in problems]


def test_correct_tables_have_no_problems(tables: Path) -> None:
    report = validate_tables(str(tables))
    assert report.ok, report.problems
    assert report.warnings == []
    assert report.rows == {
        "products": 6,
        "pins": 3,
        "boards": 2,
        "board_pins": 2,
        "engagements": 10,
        "judgments": 2,
    }
    report.raise_for_problems()


# (table, row, column, wrong value) -> kind of problem; everything else stays correct.
MISTAKES = [
    ("products", 2, "product_id", None, "missing"),
    ("products", 6, "product_id", "  ", "missing"),
    ("products", 3, "image_paths", ["/etc/passwd"], "value"),
    ("products", 3, "image_paths", ["images/../../secret.png"], "value"),
    ("products", 4, "image_paths", ["images/none.png"], "image"),
    ("products", 4, "graph_embedding", [1.0, 2.0], "width"),
    ("products", 4, "graph_embedding", [1.0, 2.0, float("nan"), 0.0], "finite"),
    ("products", 4, "graph_embedding", [1.0, 2.0, float("inf"), 0.0], "finite"),
    ("pins", 2, "image_embeddings", [[0.5] * 255], "width"),
    ("pins", 2, "image_embeddings", [[0.5] * 256, [float("nan")] * 256], "finite"),
    ("pins", 3, "product_id", "s99", "reference"),
    ("board_pins", 1, "pin_id", "p99", "reference"),
    ("board_pins", 2, "board_id", "b99", "reference"),
    ("engagements", 1, "query_type", "serach", "value"),
    ("engagements", 1, "query", "", "missing"),
    ("engagements", 1, "candidate_type", "user", "value"),
    ("engagements", 2, "candidate", "s99", "reference"),
    ("engagements", 7, "query", "p99", "reference"),
    ("engagements", 8, "query", "p1", "reference"),  # a pin's id, but the query is a product
    ("engagements", 9, "candidate", "s0", "reference"),  # a product's id for a pin
    ("engagements", 3, "action", "", "value"),
    ("engagements", 3, "action", "add to cart", "value"),
    ("engagements", 3, "action", "cart/add", "value"),
    ("engagements", 3, "action", None, "missing"),
    ("engagements", 4, "split", "dev", "value"),
    ("judgments", 2, "relevance", None, "missing"),
    ("judgments", 2, "relevance", float("nan"), "finite"),
    ("judgments", 1, "product_id", "p0", "reference"),
]


@pytest.mark.parametrize("table,row,column,value,kind", MISTAKES)
@pytest.mark.parametrize("extension", ["parquet", "jsonl", "csv"])
def test_one_mistake_is_named_where_it_is(
    tmp_path: Path,
    table_rows: Rows,
    table: str,
    row: int,
    column: str,
    value: object,
    kind: str,
    extension: str,
) -> None:
    if extension == "csv" and (value == "" or column == "image_embeddings"):
        kind = {"value": "missing"}.get(kind, kind)  # an empty cell is null
    table_rows[table][row - 1][column] = value
    report = validate_tables(str(write_tables(tmp_path, table_rows, extension)))
    found = [place for place in places(report.problems) if place[0] == table]
    if column == "image_paths" and kind == "value":  # a path out of the folder is no image either
        assert (table, row, column, "value") in found
    else:
        assert found == [(table, row, column, kind)]
    assert report.problem_counts[f"{table}.{column}: {kind}"] == 1


def test_all_problems_are_reported_at_once(tmp_path: Path, table_rows: Rows) -> None:
    planted = [mistake for mistake in MISTAKES if mistake[0] != "products"][3:]
    for table, row, column, value, _ in planted:
        table_rows[table][row - 1][column] = value
    report = validate_tables(str(write_tables(tmp_path, table_rows)))
    # Several mistakes were planted in the same cell: the last one counts.
    last = {(table, row, column): kind for table, row, column, _, kind in planted}
    assert {place[:3] for place in places(report.problems)} >= {
        place
        for place, kind in last.items()
        if kind != "reference" or place == ("judgments", 1, "product_id")
    }
    assert report.num_problems == sum(report.problem_counts.values()) >= 10
    with pytest.raises(InputError, match=r"Found \d+:\n.*table .* row \d+, column .*expected"):
        report.raise_for_problems()


def test_duplicates_name_the_first_row(tmp_path: Path, table_rows: Rows) -> None:
    table_rows["products"][4]["product_id"] = "s1"
    table_rows["engagements"] = table_rows["engagements"][:3]
    report = validate_tables(str(write_tables(tmp_path, table_rows)))
    (problem,) = report.problems
    assert places([problem]) == [("products", 5, "product_id", "duplicate")]
    assert "'s1'" in problem.found
    assert "row 2" in problem.expected


def test_duplicates_across_files(tmp_path: Path, table_rows: Rows) -> None:
    write_tables(tmp_path, table_rows)
    (tmp_path / "boards.parquet").rename(tmp_path / "boards-00000.parquet")
    write_table(tmp_path / "boards-00001.parquet", [{"board_id": "x"}, {"board_id": "b0"}])
    (problem,) = validate_tables(str(tmp_path)).problems
    assert (problem.row, problem.column) == (2, "board_id")
    assert problem.source.endswith("boards-00001.parquet")
    assert "row 1 of" in problem.expected and "boards-00000.parquet" in problem.expected


def test_wrong_type_of_a_column_is_one_problem(tmp_path: Path, table_rows: Rows) -> None:
    for row in table_rows["products"]:
        row["title"] = 7
    for row in table_rows["judgments"]:
        row["relevance"] = "good"
    report = validate_tables(str(write_tables(tmp_path, table_rows)))
    assert places(report.problems) == [
        ("products", None, "title", "type"),
        ("judgments", None, "relevance", "type"),
    ]
    assert report.problems[0].found == "type int64"


@pytest.mark.parametrize("extension", ["jsonl", "csv"])
def test_wrong_type_of_a_cell(tmp_path: Path, table_rows: Rows, extension: str) -> None:
    table_rows["judgments"][1]["relevance"] = "good"
    table_rows["products"][2]["graph_embedding"] = "1,2"
    table_rows["board_pins"][0]["timestamp"] = "yesterday"
    report = validate_tables(str(write_tables(tmp_path, table_rows, extension)))
    assert places(report.problems) == [
        ("products", 3, "graph_embedding", "type"),
        ("board_pins", 1, "timestamp", "type"),
        ("judgments", 2, "relevance", "type"),
    ]
    assert [problem.found for problem in report.problems] == ["'1,2'", "'yesterday'", "'good'"]


@pytest.mark.parametrize("extension", ["parquet", "csv"])
def test_missing_required_column(tmp_path: Path, table_rows: Rows, extension: str) -> None:
    for row in table_rows["engagements"]:
        del row["action"]
    table_rows["engagements"][2]["split"] = "dev"  # this row is told, but not its lack of action
    report = validate_tables(str(write_tables(tmp_path, table_rows, extension)))
    assert places(report.problems) == [
        ("engagements", None, "action", "missing"),
        ("engagements", 3, "split", "value"),
    ]


def test_unknown_columns_and_files_are_warnings(tmp_path: Path, table_rows: Rows) -> None:
    for row in table_rows["products"]:
        row.update(titel="x", price=3.0)
    write_tables(tmp_path, table_rows)
    write_table(tmp_path / "product.csv", [{"product_id": "a"}])
    report = validate_tables(str(tmp_path))
    assert report.ok
    assert report.warnings == [
        "file product.csv is no table and is ignored; is it meant to be products?",
        "table products: unknown column price is ignored",
        "table products: unknown column titel is ignored; is it meant to be title?",
    ]


def test_both_kinds_of_images_in_a_row(tmp_path: Path, table_rows: Rows) -> None:
    table_rows["products"][0]["image_embeddings"] = [[0.5] * 256]
    table_rows["products"][2]["image_embeddings"] = [[0.5] * 256]  # it has no paths
    report = validate_tables(str(write_tables(tmp_path, table_rows)))
    assert places(report.problems) == [("products", 1, "image_embeddings", "image")]


def test_only_the_first_of_a_kind_are_kept_and_all_counted(tmp_path: Path) -> None:
    rows = [{"product_id": "same", "title": None if n % 2 else "x"} for n in range(500)]
    write_table(tmp_path / "products.parquet", rows)
    report = validate_tables(str(tmp_path))
    assert report.problem_counts == {"products.product_id: duplicate": 499}
    assert [problem.row for problem in report.problems] == list(range(2, 102))
    engagement = {"query_type": "search", "query": "q", "candidate_type": "product"}
    many = [{**engagement, "candidate": f"x{n}", "action": "a b"} for n in range(300)]
    write_table(tmp_path / "engagements.parquet", many)
    report = validate_tables(str(tmp_path), limit=7)
    assert report.problem_counts["engagements.candidate: reference"] == 300
    assert report.problem_counts["engagements.action: value"] == 300
    assert len(report.problems) == 21


def test_folder_without_products(tmp_path: Path) -> None:
    write_table(tmp_path / "boards.csv", [{"board_id": "b", "title": "x"}])
    assert places(validate_tables(str(tmp_path)).problems) == [("products", None, "", "missing")]


def test_no_rows(tmp_path: Path) -> None:
    (tmp_path / "products.csv").write_text("product_id,title\n")
    (problem,) = validate_tables(str(tmp_path)).problems
    assert problem.found == "no rows"


def test_unreadable_file_is_a_problem_among_others(tables: Path) -> None:
    (tables / "judgments.parquet").write_bytes(b"PAR1 but not really PAR1")
    report = validate_tables(str(tables))
    assert places(report.problems) == [("judgments", None, "", "file")]
    assert "readable Parquet file" in report.problems[0].found


def test_timestamps_out_of_range(tables: Path) -> None:
    table = pq.read_table(tables / "board_pins.parquet")
    times = pa.array([10**15, 0], pa.timestamp("s"))  # milliseconds taken for seconds
    table = table.set_column(2, "timestamp", times)
    pq.write_table(table, tables / "board_pins.parquet")
    (problem,) = validate_tables(str(tables)).problems
    assert places([problem]) == [("board_pins", 1, "timestamp", "type")]
    assert "year 1 to 9999" in problem.expected


def test_report_as_json_and_as_text(tmp_path: Path, table_rows: Rows) -> None:
    table_rows["judgments"][1]["product_id"] = "gone"
    report = validate_tables(str(write_tables(tmp_path, table_rows)))
    assert report.to_json()["num_problems"] == 1
    assert report.to_json()["problems"][0]["row"] == 2
    assert str(report.problems[0]) == (
        f"table judgments, row 2, column product_id ({tmp_path}/judgments.parquet): "
        "found 'gone', expected a product_id of table products"
    )


def test_rows_of_later_batches_have_their_own_number(tmp_path: Path) -> None:
    moment = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    rows = [{"product_id": f"s{n}"} for n in range(40_000)]
    write_table(tmp_path / "products.parquet", rows)
    engagement = {"query_type": "search", "query": "q", "candidate_type": "product"}
    rows = [
        {**engagement, "candidate": f"s{n}", "action": "a", "timestamp": moment}
        for n in range(40_000)
    ]
    rows[33_332]["candidate"] = "gone"
    rows[39_999]["query_type"] = "?"
    write_table(tmp_path / "engagements.parquet", rows)
    assert sorted(places(validate_tables(str(tmp_path)).problems)) == [
        ("engagements", 33_333, "candidate", "reference"),
        ("engagements", 40_000, "query_type", "value"),
    ]


@pytest.mark.realdata
@pytest.mark.skipif(not REAL.is_dir(), reason=f"no folder of real tables at {REAL}")
@pytest.mark.parametrize("name", ["home", "movies", "fashion"])
def test_real_tables(name: str) -> None:
    report = validate_tables(str(REAL / name))
    assert report.ok, report.problems[:3]
    unknown = ["table products: unknown column usage is ignored"] if name == "fashion" else []
    assert report.warnings == unknown
