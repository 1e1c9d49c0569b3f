"""`validate` prints what is wrong and says so by its exit code."""

import json
from pathlib import Path

import pytest

from tests.conftest import Rows, write_table, write_tables
from tfrs_sage.cli.main import main


def test_correct_tables(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "--input", str(tables)]) == 0
    out = capsys.readouterr().out
    assert "products: 6 rows" in out
    assert "no problems" in out


def test_problems_are_a_table(
    tmp_path: Path, table_rows: Rows, capsys: pytest.CaptureFixture[str]
) -> None:
    table_rows["products"][2]["product_id"] = "s0"
    table_rows["judgments"][1]["product_id"] = "[red]x[/red]"
    assert main(["validate", "--input", str(write_tables(tmp_path, table_rows))]) == 2
    out = capsys.readouterr().out
    assert "4 problems" in out  # s2 is gone, and a pin and an engagement refer to it
    assert "'[red]x[/red]'" in out.replace("\n", "")
    assert "products.product_id: duplicate: 1" in out


def test_json(tmp_path: Path, table_rows: Rows, capsys: pytest.CaptureFixture[str]) -> None:
    table_rows["engagements"][4]["action"] = "add to cart"
    folder = write_tables(tmp_path, table_rows)
    assert main(["validate", "--json", "--input", str(folder)]) == 2
    out, _ = capsys.readouterr()
    result = json.loads(out)
    assert result["ok"] is False
    assert result["problem_counts"] == {"engagements.action: value": 1}
    assert result["problems"] == [
        {
            "table": "engagements",
            "row": 5,
            "column": "action",
            "found": "'add to cart'",
            "expected": "a non-empty word without slash or white space",
            "source": f"{folder}/engagements.parquet",
            "kind": "value",
        }
    ]


def test_warnings_are_no_problems(
    tmp_path: Path, table_rows: Rows, capsys: pytest.CaptureFixture[str]
) -> None:
    for row in table_rows["products"]:
        row["usage"] = "casual"
    assert main(["validate", "--input", str(write_tables(tmp_path, table_rows))]) == 0
    assert "warning: table products: unknown column usage is ignored" in capsys.readouterr().out


def test_limit_says_how_many_are_not_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_table(tmp_path / "products.jsonl", [{"product_id": ""} for _ in range(9)])
    assert main(["validate", "--input", str(tmp_path), "--limit", "2"]) == 2
    assert "products.product_id: missing: 9 (7 of them not listed)" in capsys.readouterr().out
