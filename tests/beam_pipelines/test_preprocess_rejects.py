"""Planted faults: each is told by place and reason, none is lost."""

import json
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.preprocess import preprocess
from tests.beam_pipelines.reading import read_records
from tests.beam_pipelines.tiny_tables import (
    BAD_ENGAGEMENTS,
    ENGAGEMENT_FAULTS,
    ENGAGEMENTS,
    PRODUCT_FAULTS,
    PRODUCTS,
    write_tables,
)
from tfrs_sage.errors import InputError
from tfrs_sage.schema.config import PreprocessConfig

Run = tuple[Path, dict[str, Any]]


@pytest.mark.parametrize(
    ("table", "faults"), [("products", PRODUCT_FAULTS), ("engagements", ENGAGEMENT_FAULTS)]
)
def test_every_fault_is_told_by_place(
    faulty_run: Run, table: str, faults: list[tuple[int, str, str]]
) -> None:
    run, _ = faulty_run
    lines = (run / "rejects" / f"{table}.jsonl").read_text().splitlines()
    rejects = [json.loads(line) for line in lines]
    assert all(r["table"] == table and r["file"] == f"{table}.jsonl" for r in rejects)
    told = sorted((r["row"], r["column"], r["found"]) for r in rejects)
    for (row, column, found), expected in zip(told, sorted(faults), strict=False):
        # Broken images: the two of row 5 are told in the order of their names.
        assert (row, column) == expected[:2]
        assert found
    for row, column, words in faults:
        assert any(r == row and c == column and words in f for r, c, f in told), (row, column)
    assert len(told) == len(faults)


def test_no_row_is_lost(faulty_run: Run) -> None:
    _, summary = faulty_run
    pairs = summary["pairs"]
    assert pairs["rows"] == len(ENGAGEMENTS) + len(BAD_ENGAGEMENTS)
    assert pairs["rows"] == sum(pairs.values()) - pairs["rows"]
    assert pairs["rejected"] == 5  # rows 10 to 14
    assert summary["tables"]["products"] == {
        "rows": 8,
        "rejected": 3,
        "reasons": {
            "image_paths/image": 2,
            "product_id/duplicate": 1,
            "product_id/missing": 1,
            "title/type": 1,
        },
    }
    assert summary["images"] == {"encoded": 4, "broken": 2}


def test_a_product_lives_on_without_its_broken_image(faulty_run: Run) -> None:
    run, _ = faulty_run
    products = {r["id"]: r for r in read_records(run / "catalogue", "product-*")}
    assert set(products) == {b"p1", b"p2", b"p3", b"p4", b"p5"}
    assert len(products[b"p5"]["image_embeddings"]) == 256 * 2
    assert products[b"p1"]["title"] == b"Red sofa"  # the first row of the id


def test_too_many_rejects_fail_and_leave_what_was(tmp_path: Path) -> None:
    bad = [{"title": "no id"}]
    tables = write_tables(tmp_path / "tables", products=PRODUCTS + bad)
    before = tmp_path / "run" / "catalogue" / "old"
    before.parent.mkdir(parents=True)
    before.touch()
    config = PreprocessConfig(max_reject_share=0.1, wordpiece_size=200)
    message = r"At most 10\.00% .* table products .* Found: 1 of 5 \(product_id/missing: 1\)"
    with pytest.raises(InputError, match=message):
        preprocess(str(tables), str(tmp_path / "run"), config, [])
    assert before.exists()
    assert not (tmp_path / "run" / "examples").exists()
    assert "no id" not in (tmp_path / "run/rejects/products.jsonl").read_text()
    assert len((tmp_path / "run/rejects/products.jsonl").read_text().splitlines()) == 1
