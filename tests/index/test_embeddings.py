"""Embedding files written by hand come back sorted; what does not fit is refused."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tfrs_sage.artefacts import write_json
from tfrs_sage.errors import InputError
from tfrs_sage.index import read_embeddings
from tfrs_sage.index.embeddings import read_attributes


def _write(path, ids: list[str], vectors: np.ndarray) -> None:
    flat = pa.array(vectors.ravel().astype(np.float32))
    table = pa.table(
        {"id": ids, "embedding": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])}
    )
    pq.write_table(table, path, row_group_size=2)


def test_files_are_joined_in_order_of_the_id(tmp_path) -> None:
    _write(tmp_path / "part-0.parquet", ["c", "a", "d"], np.arange(6.0).reshape(3, 2))
    _write(tmp_path / "part-1.parquet", ["b"], np.array([[9.0, 8.0]]))
    write_json(tmp_path / "manifest.json", {"count": 4, "dimension": 2})
    ids, vectors = read_embeddings(tmp_path)
    assert ids.tolist() == ["a", "b", "c", "d"]
    assert vectors.dtype == np.float32
    assert vectors.tolist() == [[2, 3], [9, 8], [0, 1], [4, 5]]


def test_a_missing_file_is_noticed(tmp_path) -> None:
    write_json(tmp_path / "manifest.json", {"count": 4, "dimension": 2})
    with pytest.raises(InputError, match="Found: none"):
        read_embeddings(tmp_path)
    _write(tmp_path / "part-1.parquet", ["b"], np.array([[9.0, 8.0]]))
    with pytest.raises(InputError, match="count is 1, needed 4"):
        read_embeddings(tmp_path)


def test_attributes_come_in_the_order_of_the_ids(tmp_path) -> None:
    (tmp_path / "products-0.jsonl").write_text(
        '{"product_id": "a", "color": "red", "brand": "x"}\n{"product_id": "b"}\n'
    )
    (tmp_path / "products-1.jsonl").write_text('{"product_id": "c", "color": "blue"}\n')
    found = read_attributes(str(tmp_path), "products", ["color", "size"], ["c", "unknown", "a"])
    assert found == {"color": ["blue", None, "red"], "size": [None, None, None]}
    with pytest.raises(InputError, match=r"text columns of products: .*color.*'image_paths'"):
        read_attributes(str(tmp_path), "products", ["image_paths"], [])
    with pytest.raises(InputError, match="'colour'"):
        read_attributes(str(tmp_path), "products", ["colour"], [])
