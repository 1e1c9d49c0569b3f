"""The column arithmetic picks exactly the rows in which `check_row` finds something."""

import random
from pathlib import Path

import pyarrow as pa
import pytest

from tests.conftest import write_table
from tfrs_sage.schema.conversion import ARROW_TYPES, from_values
from tfrs_sage.schema.reading import iter_batches
from tfrs_sage.schema.rows import check_row
from tfrs_sage.schema.screening import suspicious_rows
from tfrs_sage.schema.tables import TABLES, Kind

NAN, INF = float("nan"), float("inf")
CHOICES = {
    Kind.ID: ["a", "s1", None, "", " \t", "\u00a0", "x y"],
    Kind.TEXT: ["a", None, ""],
    Kind.TEXTS: ["a", None, ""],
    Kind.WORD: ["train", "search", "product", "pin", "x", "", None],
    Kind.ACTION: ["click", "a b", "", "a/b", "a\u00a0b", None],
    Kind.PATHS: [["a.jpg"], [], None, ["a", "/b"], ["../a"], [""], ["a", "b"], ["gs://a"], [" "]],
    Kind.IMAGES: [None, [], [[0.5] * 256], [[0.5] * 255], [[0.5] * 256, [NAN] * 256]],
    Kind.VECTOR: [None, [1.0, 2.0], [1.0], [], [NAN, 0.0], [0.0, INF]],
    Kind.NUMBER: [1.0, None, NAN, -INF],
    Kind.TIMESTAMP: ["2026-01-01", None],
}


def random_batch(table: str, seed: int, rows: int) -> pa.RecordBatch:
    rng = random.Random(seed)
    names = [*TABLES[table].columns, *(["x_embedding"] if TABLES[table].vectors else [])]
    columns = {}
    for name in names:
        column = TABLES[table].column(name)
        assert column is not None
        # Mostly the first, which is right, so that a row is wrong in a column or two.
        choices = CHOICES[column.kind]
        values = [choices[0] if rng.random() < 0.9 else rng.choice(choices) for _ in range(rows)]
        columns[name] = from_values(values, column.kind)[0]
    return pa.RecordBatch.from_pydict(columns)


@pytest.mark.parametrize("table", list(TABLES))
@pytest.mark.parametrize("seed", range(4))
def test_screening_agrees_with_check_row(table: str, seed: int) -> None:
    widths = {"x_embedding": 2}
    batch = random_batch(table, seed, 60).slice(7)  # a slice has an offset, as in a real batch
    wrong = [
        position
        for position, row in enumerate(batch.to_pylist())
        if check_row(table, row, widths=widths)
    ]
    assert suspicious_rows(table, batch, widths) == wrong


def test_every_kind_is_among_the_choices() -> None:
    assert set(CHOICES) == set(ARROW_TYPES) == set(Kind)


def test_malformed_rows_are_picked(tmp_path: Path) -> None:
    write_table(tmp_path / "judgments.csv", [{"query": "q", "product_id": "p", "relevance": "x"}])
    ((_, _, batch),) = iter_batches(str(tmp_path), "judgments")
    assert suspicious_rows("judgments", batch, {}) == [0]


def test_a_column_of_another_type_is_passed_over() -> None:
    batch = pa.RecordBatch.from_pydict({"product_id": [1, 2], "title": ["a", "b"]})
    assert suspicious_rows("products", batch, {}) == []
