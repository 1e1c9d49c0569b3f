"""Embedding files written by hand come back sorted; what does not fit is refused."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tfrs_sage.artefacts import write_json
from tfrs_sage.errors import InputError
from tfrs_sage.index import read_embeddings


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
