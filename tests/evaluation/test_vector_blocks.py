import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tfrs_sage.errors import InputError
from tfrs_sage.evaluation import VectorBlocks, vector_blocks


@pytest.fixture
def vectors(monkeypatch):
    monkeypatch.setattr(vector_blocks, "READ_ROWS", 8)
    return np.random.default_rng(0).normal(size=(21, 4)).astype(np.float32)


def test_npy_file_and_folder(tmp_path, vectors):
    np.save(tmp_path / "a.npy", vectors[:20])
    np.save(tmp_path / "b.npy", vectors[20:].astype(np.float16))
    one = VectorBlocks(tmp_path / "a.npy")
    assert one.count == 20 and [len(block) for block in one] == [8, 8, 4]
    both = VectorBlocks(tmp_path)
    for _ in range(2):  # read anew each time
        blocks = list(both)
        assert {block.dtype for block in blocks} == {np.dtype(np.float32)}
        np.testing.assert_allclose(np.concatenate(blocks), vectors, atol=2e-3)
    np.testing.assert_array_equal(np.concatenate(list(both))[:20], vectors[:20])
    assert both.count == 21


def test_embeddings_folder(tmp_path, vectors):
    for number, rows in enumerate((vectors[:13], vectors[13:])):
        column = pa.array(rows.tolist(), pa.list_(pa.float32(), 4))
        ids = [f"p{number}-{row}" for row in range(len(rows))]
        pq.write_table(
            pa.table({"id": ids, "embedding": column}), tmp_path / f"part-{number}.parquet"
        )
    blocks = VectorBlocks(tmp_path)
    assert blocks.count == 21 and max(len(block) for block in blocks) == 8
    np.testing.assert_array_equal(np.concatenate(list(blocks)), vectors)


def test_changed_blocks(tmp_path, vectors):
    np.save(tmp_path / "a.npy", vectors)
    cut = VectorBlocks(tmp_path / "a.npy").changed(lambda block: block[:, :2])
    np.testing.assert_array_equal(np.concatenate(list(cut)), vectors[:, :2])


def test_what_is_refused(tmp_path, vectors):
    with pytest.raises(InputError, match="Found: none"):
        VectorBlocks(tmp_path)
    with pytest.raises(InputError, match="Found: none"):
        VectorBlocks(tmp_path / "absent.npy")
    np.save(tmp_path / "a.npy", vectors)
    VectorBlocks(tmp_path).require_width(4)
    with pytest.raises(InputError, match=r"the width of the run's embeddings, 8. Found: 4"):
        VectorBlocks(tmp_path).require_width(8)
    np.save(tmp_path / "b.npy", vectors[:, :3])
    with pytest.raises(InputError, match=r"of one width. Found: a.npy \(21, 4\), b.npy \(21, 3\)"):
        VectorBlocks(tmp_path)
    np.save(tmp_path / "b.npy", vectors[:, 0])
    (tmp_path / "a.npy").unlink()
    with pytest.raises(InputError, match=r"b.npy \(21, -1\)"):
        VectorBlocks(tmp_path)
