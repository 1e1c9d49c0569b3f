"""Embeddings as a column: joined by id, everything else as it was."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.beam_pipelines.tiny_tables import ENGAGEMENTS, PINS, PRODUCTS, write_tables
from tfrs_sage.artefacts import write_json
from tfrs_sage.cli.main import main
from tfrs_sage.errors import InputError
from tfrs_sage.export.embedding_column import write_embedding_column
from tfrs_sage.schema.reading import iter_batches, vector_widths

VECTORS = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Embeddings of p3 and p1; p2 and p4 are newer than the run."""
    folder = tmp_path / "run" / "embeddings" / "product"
    folder.mkdir(parents=True)
    column = pa.array(VECTORS.tolist(), pa.list_(pa.float32(), 3))
    pq.write_table(pa.table({"id": ["p3", "p1"], "embedding": column}), folder / "part-0.parquet")
    write_json(folder / "manifest.json", {"count": 2, "dimension": 3})
    return tmp_path / "run"


def rows_of(folder: Path, table: str) -> list[dict]:
    return [row for _, _, batch in iter_batches(str(folder), table) for row in batch.to_pylist()]


def test_joined_by_id_and_all_else_is_as_it_was(run, tmp_path) -> None:
    tables = write_tables(
        tmp_path / "tables", products=PRODUCTS, pins=PINS, engagements=ENGAGEMENTS
    )
    out = tmp_path / "new"
    told = write_embedding_column(run, str(tables), "old_embedding", out)
    assert told == {"products": {"rows": 4, "with_vector": 2, "dimension": 3}}
    before, after = rows_of(tables, "products"), rows_of(out, "products")
    old = {row["product_id"]: row.pop("old_embedding") for row in after}
    assert old == {"p1": [3.0, 4.0, 5.0], "p2": None, "p3": [0.0, 1.0, 2.0], "p4": None}
    assert after == before
    assert vector_widths(str(out), "products")["old_embedding"] == 3
    for name in ("pins.jsonl", "engagements.jsonl", "a.png"):
        assert (out / name).read_bytes() == (tables / name).read_bytes()
    assert not (out / "products.jsonl").exists()  # a table in two formats would count twice


def test_what_cannot_be_joined(run, tmp_path) -> None:
    tables = str(write_tables(tmp_path / "tables", products=PRODUCTS))
    out = tmp_path / "new"
    with pytest.raises(InputError, match=r"ends in _embedding.*Received: 'old'.*old_embedding"):
        write_embedding_column(run, tables, "old", out)
    with pytest.raises(InputError, match=r"new to the tables\. Found: graph_embedding"):
        write_embedding_column(run, tables, "graph_embedding", out)
    with pytest.raises(InputError, match=r"copies tables of this machine\. Received: gs://"):
        write_embedding_column(run, "gs://bucket/tables", "old_embedding", out)
    with pytest.raises(InputError, match="a new folder, outside of the tables"):
        write_embedding_column(run, tables, "old_embedding", Path(tables) / "new")
    with pytest.raises(InputError, match=r"must hold embeddings\. Found: none\. Run embed first"):
        write_embedding_column(tmp_path, tables, "old_embedding", out)
    bad = write_tables(tmp_path / "bad", products=[{"product_id": "p1", "title": 7}])
    with pytest.raises(InputError, match=r"products\.jsonl must have cells.*`tfrs-sage validate`"):
        write_embedding_column(run, str(bad), "old_embedding", out)
    assert not out.exists(), "half a folder was left"


def test_the_options_go_together(run, capsys) -> None:
    assert main(["embed", f"--dir={run}", "--as-column=old_embedding"]) == 2
    assert "--output FOLDER" in capsys.readouterr().err
    assert main(["embed", f"--dir={run}", "--input=tables"]) == 2
    assert "go together" in " ".join(capsys.readouterr().err.split())
