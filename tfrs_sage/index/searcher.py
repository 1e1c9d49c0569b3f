"""What each kind of index is: a fixed matrix of vectors, searched by row."""

import abc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
IdArray = NDArray[np.object_]
RowArray = NDArray[np.int64]


class Searcher(abc.ABC):
    """Rows of a matrix by dot product; knows no ids and never changes once built.

    A kind names itself, says how it is built and searched and which files it keeps beside the
    vectors. Everything else (ids, filters, changes, files) is the same for all kinds: `Index`.

    Attributes:
        vectors: float32 `[n, d]`, one candidate a row.
    """

    kind: ClassVar[str]
    is_exact: ClassVar[bool]

    def __init__(self, vectors: FloatArray) -> None:
        self.vectors = vectors

    def __len__(self) -> int:
        return int(self.vectors.shape[0])

    @classmethod
    @abc.abstractmethod
    def build(
        cls, vectors: FloatArray, recall_target: float, seed: int, queries: FloatArray | None
    ) -> tuple[Self, dict[str, Any]]:
        """A searcher of checked vectors, and what the build measured.

        Recall is measured with queries near the candidates and with `queries`, `[num_queries, d]`.

        Raises:
            InputError: no setting reaches `recall_target` at 10 and 100 neighbours.
        """

    @abc.abstractmethod
    def search_rows(self, queries: FloatArray, k: int) -> tuple[RowArray, FloatArray]:
        """Rows and scores `[num_queries, k]`, best first, of checked queries; 1 <= k <= n."""

    def at_other_settings(self) -> Iterator["Searcher"]:
        """The same candidates searched at other settings, from the fastest to the most exact.

        Each holds until the next; at the end the searcher is as before. None for an exact kind.
        """
        yield from ()

    @abc.abstractmethod
    def save_assets(self, folder: Path) -> None:
        """Writes what this kind keeps beside the vectors."""

    @classmethod
    @abc.abstractmethod
    def load(cls, folder: Path, vectors: FloatArray, report: Mapping[str, Any]) -> Self:
        """The searcher whose assets lie in `folder`."""
