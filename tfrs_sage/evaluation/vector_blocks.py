"""Vectors on disk, read a block at a time: candidate sets that need not fit into memory."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from tfrs_sage.errors import InputError

READ_ROWS = 1 << 14

Vectors = npt.NDArray[np.float32]


class VectorBlocks:
    """The vectors of a file or folder, as blocks that are read anew whenever they are gone through.

    Plain reads rather than one mapping of the whole: a mapping's pages count as memory of the
    process for as long as it lives.

    Args:
        path: a `.npy` file of shape `[n, d]`, or a folder of such files or of `part-*.parquet`
            files with a column `embedding` (fixed-size lists), as the `embed` step writes them.
        change: of each block, float32 `[b, d]` to `[b, e]`, e.g. cutting it to a prefix.

    Attributes:
        count: number of vectors n.

    Raises:
        InputError: nothing of the kind is there, or the files differ in width.
    """

    def __init__(self, path: str | Path, change: Callable[[Vectors], Vectors] | None = None):
        self._change = change
        self.path = Path(path)
        names = ("*.npy", "part-*.parquet")
        self._files = (
            [self.path]
            if self.path.suffix == ".npy" and self.path.is_file()
            else sorted(file for name in names for file in self.path.glob(name))
        )
        shapes = [_shape(file) for file in self._files]
        if len({width for _, width in shapes} | {-1}) != 2 or (-1 in {w for _, w in shapes}):
            found = ", ".join(f"{f.name} {s}" for f, s in zip(self._files, shapes, strict=True))
            raise InputError(
                f"{path} must be a .npy file [n, d], or a folder of .npy or part-*.parquet files "
                f"of one width. Found: {found or 'none'}."
            )
        self.count = sum(rows for rows, _ in shapes)
        self._width = shapes[0][1]

    def changed(self, change: Callable[[Vectors], Vectors]) -> "VectorBlocks":
        """The same vectors, each block changed as it is read."""
        return VectorBlocks(self.path, change)

    def require_width(self, width: int) -> None:
        """Refuses vectors of another width.

        Raises:
            InputError: naming both.
        """
        if self._width != width:
            raise InputError(
                f"the vectors of {self.path} must have the width of the run's embeddings, "
                f"{width}. Found: {self._width}. Embed them with the same towers."
            )

    def __iter__(self) -> Iterator[Vectors]:
        for file in self._files:
            for block in _npy_blocks(file) if file.suffix == ".npy" else _parquet_blocks(file):
                yield block if self._change is None else self._change(block)


def _shape(file: Path) -> tuple[int, int]:
    """Rows and width of a file; width -1 where it holds no matrix of numbers."""
    if file.suffix == ".npy":
        array = np.load(file, mmap_mode="r")
        good = array.ndim == 2 and np.issubdtype(array.dtype, np.floating)
        return len(array), int(array.shape[1]) if good else -1
    with pq.ParquetFile(file) as parquet:
        kind = parquet.schema_arrow.field("embedding").type
        return parquet.metadata.num_rows, getattr(kind, "list_size", -1)


def _npy_blocks(file: Path) -> Iterator[Vectors]:
    for start in range(0, len(np.load(file, mmap_mode="r")), READ_ROWS):
        # The mapping ends with the statement, and its pages with it.
        yield np.array(np.load(file, mmap_mode="r")[start : start + READ_ROWS], np.float32)


def _parquet_blocks(file: Path) -> Iterator[Vectors]:
    with pq.ParquetFile(file) as parquet:
        for batch in parquet.iter_batches(READ_ROWS, columns=["embedding"]):
            flat = batch.column(0).flatten().to_numpy(zero_copy_only=False)
            yield flat.reshape(len(batch), -1).astype(np.float32, copy=False)
