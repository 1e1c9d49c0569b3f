"""The one interface of every index, and what all kinds share."""

import abc
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tfrs_sage.artefacts import MANIFEST, whole_folder, write_json
from tfrs_sage.index.checks import as_queries

FORMAT = "tfrs-sage index 1"
VECTORS_FILE = "vectors.npy"
IDS_FILE = "ids.txt"

FloatArray = NDArray[np.float32]
IdArray = NDArray[np.object_]


class Index(abc.ABC):
    """Candidates with their ids, searched by dot product.

    A subclass names its `kind`, says how rows are searched and which files beside
    the vectors and the ids it keeps.

    Attributes:
        vectors: float32 `[n, d]`, one candidate a row.
        ids: object `[n]`, the candidates' ids as `str`, each once.
        report: what the build measured (recall, queries per second, parameters); goes
            into the manifest.
    """

    kind: ClassVar[str]
    is_exact: ClassVar[bool]

    def __init__(self, vectors: FloatArray, ids: IdArray, report: Mapping[str, Any]) -> None:
        self.vectors = vectors
        self.ids = ids
        self.report = dict(report)

    @property
    def dimension(self) -> int:
        return int(self.vectors.shape[1])

    def __len__(self) -> int:
        return int(self.vectors.shape[0])

    def search(self, queries: Any, k: int) -> tuple[IdArray, FloatArray]:
        """The `k` candidates of each query with the largest dot products.

        Args:
            queries: float `[num_queries, d]`; finite.
            k: int >= 1; where it is larger than n, n columns are returned.

        Returns:
            ids: object `[num_queries, min(k, n)]` of `str`, best first.
            scores: float32 `[num_queries, min(k, n)]`, the dot products.

        Raises:
            ValueError: the queries have another width, or `k` is not positive.
        """
        rows, scores = self.search_rows(queries, k)
        return self.ids[rows], scores

    def search_rows(self, queries: Any, k: int) -> tuple[NDArray[np.int64], FloatArray]:
        """As `search`, with row numbers int64 in place of ids."""
        checked = as_queries(queries, self.dimension)
        if isinstance(k, bool) or int(k) != k or k < 1:
            raise ValueError(f"`k` must be a positive int. Received: k={k!r}.")
        return self._search_rows(checked, min(int(k), len(self)))

    @abc.abstractmethod
    def _search_rows(self, queries: FloatArray, k: int) -> tuple[NDArray[np.int64], FloatArray]:
        """Rows and scores `[num_queries, k]` of checked queries, with 1 <= k <= n."""

    @abc.abstractmethod
    def _save_assets(self, folder: Path) -> None:
        """Writes what this kind keeps beside the vectors and the ids."""

    @classmethod
    @abc.abstractmethod
    def from_folder(
        cls, folder: Path, vectors: FloatArray, ids: IdArray, report: Mapping[str, Any]
    ) -> "Index":
        """The index whose assets lie in `folder`."""

    def save(self, folder: str | Path) -> Path:
        """Writes vectors, ids, assets and manifest; `folder` appears whole or not at all."""
        target = Path(folder)
        with whole_folder(target) as beside:
            np.save(beside / VECTORS_FILE, self.vectors)
            (beside / IDS_FILE).write_bytes("".join(f"{i}\n" for i in self.ids).encode())
            self._save_assets(beside)
            write_json(beside / MANIFEST, self.manifest())
        return target

    def manifest(self) -> dict[str, Any]:
        """What the saved folder says of itself."""
        return {
            "format": FORMAT,
            "kind": self.kind,
            "dimension": self.dimension,
            "count": len(self),
            "report": self.report,
        }
