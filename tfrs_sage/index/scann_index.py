"""Approximate search with ScaNN, its parameters searched until the recall is reached."""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_sage.errors import InputError
from tfrs_sage.index.brute_force import exact_top_k
from tfrs_sage.index.recall import Measurement, RecallMeter, Search, held_out_queries
from tfrs_sage.index.searcher import FloatArray, RowArray, Searcher

# ScaNN, docs/algorithms.md, "Rules of thumb".
BRUTE_FORCE_BELOW = 20_000
PARTITION_FROM = 100_000
DIMENSIONS_PER_BLOCK = 2
ANISOTROPIC_THRESHOLD = 0.2
REORDER_FACTORS = (2, 5, 10, 20, 50)
ASSETS = "scann"


def import_scann() -> Any:
    """ScaNN's Python searcher.

    Raises:
        ImportError: ScaNN is absent or does not fit the TensorFlow beside it.
    """
    try:
        from scann.scann_ops.py import scann_ops_pybind
    except ImportError as e:
        raise ImportError(
            "the index kind 'scann' needs ScaNN (Linux x86-64 with AVX, or aarch64): "
            "`pip install 'scann[tf]==1.4.2'`, which is compiled against TensorFlow 2.20. "
            f"Received: {e}. Everywhere else take kind='partitioned'."
        ) from e
    return scann_ops_pybind


@dataclass(frozen=True)
class ScannParameters:
    """How a ScaNN searcher is built and asked.

    Attributes:
        num_leaves: partitions; 0 for none.
        num_leaves_to_search: partitions looked into for a query.
        reorder_factor: so many candidates per result are scored again exactly; 0 when
            everything is scored exactly at once.
    """

    num_leaves: int = 0
    num_leaves_to_search: int = 0
    reorder_factor: int = 0

    def cost(self, count: int, dimension: int) -> float:
        """Multiplications a query for 10 results, roughly: orders the parameter search."""
        share = self.num_leaves_to_search / self.num_leaves if self.num_leaves else 1.0
        # Quantised scoring is a 16-entry table look-up per two dimensions, about 8 of them
        # for the price of one multiplication.
        return (
            self.num_leaves * dimension
            + share * count * dimension / 16
            + (self.reorder_factor * 10 * dimension)
        )

    def reordered(self, k: int, count: int) -> int:
        """Candidates scored again exactly for `k` results."""
        return min(count, max(k * self.reorder_factor, k))


def candidate_parameters(count: int, dimension: int) -> list[ScannParameters]:
    """Settings worth trying for `count` vectors, the cheapest first."""
    if count < BRUTE_FORCE_BELOW:
        return [ScannParameters()]
    if count < PARTITION_FROM:
        return [ScannParameters(reorder_factor=factor) for factor in REORDER_FACTORS]
    leaves = round(math.sqrt(count))
    steps = {min(leaves, max(1, round(leaves * 2.0**-i))) for i in range(8)}
    grid = [ScannParameters(leaves, s, f) for s in steps for f in REORDER_FACTORS]
    return sorted(grid, key=lambda p: p.cost(count, dimension))


def configure(builder: Any, parameters: ScannParameters) -> Any:
    """A ScaNN builder with the tree, the scorer and the reordering of `parameters`.

    Works on the builders of both `scann_ops` and `scann_ops_pybind`.
    """
    if not parameters.reorder_factor:
        return builder.score_brute_force()
    if parameters.num_leaves:
        builder = builder.tree(
            num_leaves=parameters.num_leaves,
            num_leaves_to_search=parameters.num_leaves_to_search,
            training_sample_size=min(builder.db.shape[0], 250_000),
        )
    builder = builder.score_ah(
        DIMENSIONS_PER_BLOCK, anisotropic_quantization_threshold=ANISOTROPIC_THRESHOLD
    )
    return builder.reorder(parameters.reordered(10, builder.db.shape[0]))


def cheapest_reaching(
    tried: Sequence[ScannParameters],
    search_with: Callable[[ScannParameters], Search],
    meter: RecallMeter,
    recall_target: float,
) -> tuple[ScannParameters, Measurement]:
    """The first of the parameters whose recall reaches the target, and what it reaches.

    Raises:
        InputError: none does; the best recall found is in the text.
    """
    best: Measurement | None = None
    for parameters in tried:
        found = meter.measure(search_with(parameters))
        if found.worst >= recall_target:
            return parameters, found
        if best is None or found.worst > best.worst:
            best = found
    reached = best.to_json()["recall"] if best else "nothing tried"
    raise InputError(
        f"no ScaNN parameters reach recall {recall_target} over these {meter.count} vectors. "
        f"Found: at most {reached}. Lower `recall_target`, or take kind='brute_force'."
    )


class ScannSearcher(Searcher):
    """ScaNN over the candidates, at the cheapest parameters that reach the recall."""

    kind = "scann"
    is_exact = False

    def __init__(self, vectors: FloatArray, scann: Any, parameters: ScannParameters) -> None:
        super().__init__(vectors)
        self._scann = scann
        self.parameters = parameters

    @classmethod
    def build(
        cls, vectors: FloatArray, recall_target: float, seed: int, queries: FloatArray | None
    ) -> tuple["ScannSearcher", dict[str, Any]]:
        """Builds the tree and the codes once, then searches the query-time parameters.

        Raises:
            ImportError: ScaNN is not installed.
            InputError: no setting reaches `recall_target` at 10 and 100 neighbours.
        """
        scann_ops = import_scann()
        tried = candidate_parameters(*vectors.shape)
        scann = configure(scann_ops.builder(vectors, 10, "dot_product"), tried[-1]).build()
        meter = RecallMeter(vectors, held_out_queries(vectors, seed, queries))
        parameters, found = cheapest_reaching(
            tried, lambda p: cls(vectors, scann, p).search_rows, meter, recall_target
        )
        report = {"recall_target": recall_target, **found.to_json()}
        return cls(vectors, scann, parameters), {**report, "parameters": asdict(parameters)}

    def at_other_settings(self) -> Iterator[Searcher]:
        # The tree and the codes are the same for all: only how much is looked at differs.
        every = candidate_parameters(*self.vectors.shape)
        for one in every:
            if one.num_leaves and one.reorder_factor == self.parameters.reorder_factor:
                yield ScannSearcher(self.vectors, self._scann, one)

    def search_rows(self, queries: FloatArray, k: int) -> tuple[RowArray, FloatArray]:
        options: dict[str, int] = {"final_num_neighbors": k}
        if self.parameters.reorder_factor:
            options["pre_reorder_num_neighbors"] = self.parameters.reordered(k, len(self))
        if self.parameters.num_leaves:
            options["leaves_to_search"] = self.parameters.num_leaves_to_search
        rows, scores = self._scann.search_batched_parallel(queries, **options)
        rows, scores = rows.astype(np.int64), scores.astype(np.float32)
        # The leaves looked into may hold fewer than k candidates: ScaNN then pads with NaN. Such
        # queries are answered exactly, so that k results come back whenever k exist.
        short = np.isnan(scores).any(axis=1)
        if short.any():
            rows[short], scores[short] = exact_top_k(self.vectors, queries[short], k)
        return rows, scores

    def save_assets(self, folder: Path) -> None:
        (folder / ASSETS).mkdir()
        # Relative paths: the folder is renamed after it is written.
        self._scann.serialize(os.fspath(folder / ASSETS), relative_path=True)

    @classmethod
    def load(cls, folder: Path, vectors: FloatArray, report: Mapping[str, Any]) -> "ScannSearcher":
        scann = import_scann().load_searcher(os.fspath(folder / ASSETS))
        return cls(vectors, scann, ScannParameters(**report["parameters"]))
