"""Parquet, JSON Lines and CSV give the same rows, in one file or in many."""

from pathlib import Path

import pytest

from tests.conftest import GRAPH_DIM, Rows, write_table, write_tables
from tfrs_sage.errors import InputError
from tfrs_sage.schema import reading
from tfrs_sage.schema.reading import (
    iter_batches,
    iter_file_batches,
    stray_files,
    table_files,
    vector_widths,
)
from tfrs_sage.schema.rows import MALFORMED
from tfrs_sage.schema.tables import TABLES


def read_rows(folder: Path, table: str, batch_size: int = 1000) -> list[dict]:
    batches = iter_batches(str(folder), table, batch_size)
    return [row for _, _, batch in batches for row in batch.to_pylist()]


@pytest.mark.parametrize("table", list(TABLES))
@pytest.mark.parametrize("extension", ["jsonl", "csv"])
def test_formats_agree(tmp_path: Path, table_rows: Rows, table: str, extension: str) -> None:
    write_tables(tmp_path / "parquet", table_rows)
    write_tables(tmp_path / extension, table_rows, extension)
    expected = read_rows(tmp_path / "parquet", table)
    assert len(expected) == len(table_rows[table])
    assert read_rows(tmp_path / extension, table) == expected


def test_rows_are_those_written(tables: Path, table_rows: Rows) -> None:
    assert read_rows(tables, "products") == table_rows["products"]
    assert read_rows(tables, "engagements") == table_rows["engagements"]


@pytest.mark.parametrize("extension", ["parquet", "jsonl", "csv"])
def test_batches_count_their_rows(tmp_path: Path, table_rows: Rows, extension: str) -> None:
    write_tables(tmp_path, table_rows, extension)
    batches = list(iter_batches(str(tmp_path), "engagements", 4))
    assert [(first, batch.num_rows) for first, _, batch in batches] == [(1, 4), (5, 4), (9, 2)]
    assert {path for _, path, _ in batches} == {f"{tmp_path}/engagements.{extension}"}


def test_files_and_folders_of_a_table(tmp_path: Path) -> None:
    for name in (
        "products-00001.csv",
        "products-00000.csv",
        "products/part-7.csv",
        "pins/a.parquet",
        "pins/_tmp.parquet",
        "pins/.hidden.parquet",
        "boards.jsonl",
        "product.csv",
        "boards_old.jsonl",
        "images/products.txt",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert table_files(str(tmp_path)) == {
        "boards": [f"{tmp_path}/boards.jsonl"],
        "pins": [f"{tmp_path}/pins/a.parquet"],
        "products": [
            f"{tmp_path}/products-00000.csv",
            f"{tmp_path}/products-00001.csv",
            f"{tmp_path}/products/part-7.csv",
        ],
    }
    assert stray_files(str(tmp_path)) == ["boards_old.jsonl", "product.csv"]


def test_rows_of_many_files_are_numbered_by_file(tmp_path: Path) -> None:
    write_table(tmp_path / "products-0.csv", [{"product_id": "a"}, {"product_id": "b"}])
    write_table(tmp_path / "products-1.csv", [{"product_id": "c"}])
    found = [(first, path[-5:]) for first, path, _ in iter_batches(str(tmp_path), "products")]
    assert found == [(1, "0.csv"), (1, "1.csv")]


def test_two_formats_of_a_table_are_refused(tables: Path) -> None:
    write_table(tables / "products.csv", [{"product_id": "x"}])
    with pytest.raises(InputError, match=r"one format\. Found: csv, parquet"):
        table_files(str(tables))


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no folder .*none"):
        table_files(str(tmp_path / "none"))


def test_unknown_columns_are_left_out_and_named(tmp_path: Path) -> None:
    rows = [{"product_id": "a", "usage": "x"}, {"product_id": "b", "price": 1}]
    for extension in ("parquet", "jsonl", "csv"):
        path = write_table(tmp_path / extension / f"products.{extension}", rows)
        unknown: set[str] = set()
        ((_, _, batch),) = iter_file_batches("products", str(path), unknown=unknown)
        assert batch.to_pydict() == {"product_id": ["a", "b"]}
        assert unknown == {"usage", "price"}


def test_broken_lines_cost_one_row(tmp_path: Path) -> None:
    path = tmp_path / "products.jsonl"
    lines = ['{"product_id": "a"}', '{"product_id": ', "", "[1]", "\x00", '{"product_id": "b"}']
    path.write_bytes("\n".join(lines).encode() + b'\n{"product_id": "\xff"}\n')
    ((_, _, batch),) = iter_file_batches("products", str(path))
    assert batch.column("product_id").to_pylist() == ["a", None, None, None, "b", None]
    malformed = batch.column(MALFORMED)
    assert malformed.is_valid().to_pylist() == [False, True, True, True, False, True]


def test_csv_rows_of_another_length_cost_one_row(tmp_path: Path) -> None:
    path = tmp_path / "products.csv"
    path.write_text('\ufeffproduct_id,title\na,"two\nlines, ""quoted"""\nb\nc,d,e\n', "utf-8")
    ((_, _, batch),) = iter_file_batches("products", str(path))
    assert batch.column("product_id").to_pylist() == ["a", None, None]
    assert batch.column("title").to_pylist()[0] == 'two\nlines, "quoted"'
    assert "3 cells" in batch.column(MALFORMED).to_pylist()[2]


@pytest.mark.parametrize(
    "name,content,message",
    [
        ("products.parquet", b"no parquet at all", "readable Parquet file"),
        ("products.csv", b"", "Found: an empty file"),
        ("products.csv", b"product_id,product_id\n", "name a column once"),
        ("products.csv", b"a,b\n1,2\n", "must have columns of table products. Found: a, b"),
        ("products.csv", b'product_id\n"open\n', "readable CSV file"),
    ],
)
def test_files_that_are_none(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(iter_batches(str(tmp_path), "products"))


def test_truncated_parquet(tables: Path) -> None:
    path = tables / "products.parquet"
    content = bytearray(path.read_bytes())
    content[4:400] = b"\xff" * 396  # the pages; the footer at the end is whole
    path.write_bytes(content)
    with pytest.raises(InputError, match="readable Parquet file"):
        list(iter_batches(str(tables), "products"))


@pytest.mark.parametrize("extension", ["parquet", "jsonl", "csv"])
def test_vector_widths(tmp_path: Path, table_rows: Rows, extension: str) -> None:
    write_tables(tmp_path, table_rows, extension)
    assert vector_widths(str(tmp_path), "products") == {"graph_embedding": GRAPH_DIM}
    assert vector_widths(str(tmp_path), "engagements") == {}


def test_long_rows_come_in_small_batches(tables: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tfrs_sage.schema.formats._BATCH_BYTES", 3000)
    sizes = [batch.num_rows for _, _, batch in iter_batches(str(tables), "pins")]
    assert len(sizes) > 1 and sum(sizes) == 3


@pytest.mark.parametrize("extension", ["parquet", "jsonl", "csv"])
def test_beams_filesystems_read_the_same(
    tmp_path: Path, table_rows: Rows, extension: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tables(tmp_path, table_rows, extension)
    (tmp_path / "boards").mkdir()
    write_table(tmp_path / "boards" / f"more.{extension}", [{"board_id": "b9", "title": "x"}])
    files = table_files(str(tmp_path))
    rows = {table: read_rows(tmp_path, table) for table in TABLES}
    # Beam's own local filesystem stands for a remote one.
    monkeypatch.setattr(reading, "is_local", lambda folder: False)
    assert table_files(str(tmp_path)) == files
    assert {table: read_rows(tmp_path, table) for table in TABLES} == rows
