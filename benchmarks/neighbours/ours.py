"""This package's kinds as contestants, and ScaNN by itself."""

from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from contest import K

import tfrs_sage
from tfrs_sage.index.attributes import Attributes
from tfrs_sage.index.base import Index
from tfrs_sage.index.brute_force import BruteForceSearcher
from tfrs_sage.index.build import load_index
from tfrs_sage.index.checks import as_ids
from tfrs_sage.index.scann_index import (
    ScannParameters,
    ScannSearcher,
    candidate_parameters,
    configure,
    import_scann,
)
from tfrs_sage.index.searcher import Searcher
from tfrs_sage.index.snapshot import Segment, Snapshot

BLOCKS = (16, 24, 32, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512, 640, 768, 1024, 1536, 2048)
SCANN_LEAVES = (2, 4, 8, 12, 16, 24, 32, 48, 64, 90, 128, 180, 256)
BFLOAT16_RERANKED = 2.0  # blocks scored again exactly, per result
REORDERED = (2, 4, 8, 16, 32)  # candidates that ScaNN scores again exactly, per result


def one_thread() -> None:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


class Ours:
    """An `Index` of one kind, asked for ids as its users do; ids are the rows as texts."""

    def index_of(self, searcher: Searcher, report: dict[str, Any]) -> Index:
        count = len(searcher)
        ids = as_ids(map(str, range(count)), count)
        return Index(Snapshot.of(Segment(searcher, ids, Attributes.of(None, count))), report)

    def open(self, folder: Path) -> None:
        one_thread()
        self.index = load_index(folder / "index")
        vectors = np.load(folder.parent / "vectors.npy", mmap_mode="r")
        assert self.index.vectors.shape == vectors.shape

    def search(self, queries: np.ndarray, setting: Any) -> np.ndarray:
        self.set(setting)
        return self.index.search(queries, K)[0].astype(np.int64)

    def set(self, setting: Any) -> None: ...

    def versions(self) -> dict[str, str]:
        return {"tfrs_sage": tfrs_sage.__version__, "tensorflow": version("tensorflow")}


class BruteForce(Ours):
    def build(self, vectors: np.ndarray, folder: Path) -> None:
        self.index_of(*BruteForceSearcher.build(vectors)).save(folder / "index")

    def settings(self) -> Iterator[None]:
        yield None


class Partitioned(Ours):
    """The searcher at each number of blocks, rather than at the one that a build chooses."""

    def build(self, vectors: np.ndarray, folder: Path) -> None:
        from tfrs_sage.index.partitioned import PartitionedSearcher, make_layout
        from tfrs_sage.index.partitioned_ops import PartitionedParameters

        parameters = PartitionedParameters(1)
        searcher = PartitionedSearcher(vectors, make_layout(vectors, seed=0), parameters)
        report = {"parameters": vars(parameters)}
        self.index_of(searcher, report).save(folder / "index")

    def settings(self) -> Iterator[int]:
        yield from BLOCKS

    def set(self, setting: int) -> None:
        self.index.searcher.looking_into(setting)  # type: ignore[attr-defined]


class PartitionedBfloat16(Partitioned):
    """The leaves of the one above, first scored in bfloat16."""

    def build(self, vectors: np.ndarray, folder: Path) -> None:
        """Nothing: it opens what `partitioned` wrote."""

    def open(self, folder: Path) -> None:
        from tfrs_sage.index.partitioned import PartitionedSearcher
        from tfrs_sage.index.partitioned_ops import PartitionedParameters

        super().open(folder.parent / "partitioned")
        built: Any = self.index.searcher
        parameters = PartitionedParameters(1, BFLOAT16_RERANKED, "bfloat16")
        searcher = PartitionedSearcher(built.vectors, built.layout, parameters)
        self.index = self.index_of(searcher, {"parameters": vars(parameters)})


class ScannThroughIndex(Ours):
    def build(self, vectors: np.ndarray, folder: Path) -> None:
        largest = candidate_parameters(*vectors.shape)[-1]
        scann = configure(import_scann().builder(vectors, K, "dot_product"), largest).build()
        searcher = ScannSearcher(vectors, scann, largest)
        self.index_of(searcher, {"parameters": vars(largest)}).save(folder / "index")

    def settings(self) -> Iterator[dict[str, int]]:
        yield from scann_settings(self.index.searcher.parameters)  # type: ignore[attr-defined]

    def set(self, setting: dict[str, int]) -> None:
        searcher: Any = self.index.searcher
        searcher.parameters = replace(searcher.parameters, **setting)


class Scann:
    """ScaNN's own searcher with the tree and the codes of the one above."""

    def build(self, vectors: np.ndarray, folder: Path) -> None:
        """Nothing: it opens what `scann_through_index` wrote."""

    def open(self, folder: Path) -> None:
        one_thread()
        index = load_index(folder.parent / "scann_through_index" / "index")
        self.parameters: ScannParameters = index.searcher.parameters  # type: ignore[attr-defined]
        self.scann = index.searcher._scann  # type: ignore[attr-defined]

    def settings(self) -> Iterator[dict[str, int]]:
        yield from scann_settings(self.parameters)

    def search(self, queries: np.ndarray, setting: dict[str, int]) -> np.ndarray:
        options = {"final_num_neighbors": K}
        if self.parameters.reorder_factor:
            options["pre_reorder_num_neighbors"] = K * setting["reorder_factor"]
        if self.parameters.num_leaves:
            options["leaves_to_search"] = setting["num_leaves_to_search"]
        return self.scann.search_batched_parallel(queries, **options)[0].astype(np.int64)

    def versions(self) -> dict[str, str]:
        return {"scann": version("scann")}


def scann_settings(built: ScannParameters) -> Iterator[dict[str, int]]:
    """Leaves and candidates scored again, as far as the searcher has them."""
    if not built.reorder_factor:
        yield {}
        return
    for leaves in SCANN_LEAVES if built.num_leaves else (0,):
        for factor in REORDERED:
            yield {"num_leaves_to_search": leaves, "reorder_factor": factor}


def make(name: str) -> Any:
    """The contestant of a name."""
    return {
        "brute_force": BruteForce,
        "partitioned": Partitioned,
        "partitioned_bfloat16": PartitionedBfloat16,
        "scann_through_index": ScannThroughIndex,
        "scann": Scann,
    }[name]()
