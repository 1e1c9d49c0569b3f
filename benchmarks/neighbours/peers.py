"""hnswlib, faiss and voyager as contestants; each at the settings that its makers recommend."""

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from contest import BUILD_THREADS, K

LINKS, CONSTRUCTION = 16, 200  # of both HNSW graphs
SEARCH_WIDTHS = (
    10,
    12,
    16,
    20,
    24,
    32,
    40,
    48,
    64,
    80,
    100,
    128,
    160,
    200,
    256,
    320,
    400,
    512,
    800,
)
PROBES = (1, 2, 3, 4, 6, 8, 11, 16, 22, 32, 45, 64, 90, 128, 180, 256)
FILE = "index"


class Hnswlib:
    def build(self, vectors: np.ndarray, folder: Path) -> None:
        import hnswlib

        index = hnswlib.Index(space="ip", dim=vectors.shape[1])
        index.init_index(len(vectors), M=LINKS, ef_construction=CONSTRUCTION, random_seed=0)
        index.add_items(vectors, num_threads=BUILD_THREADS)
        index.save_index(str(folder / FILE))
        (folder / "dim").write_text(str(vectors.shape[1]))

    def open(self, folder: Path) -> None:
        import hnswlib

        self.index = hnswlib.Index(space="ip", dim=int((folder / "dim").read_text()))
        self.index.load_index(str(folder / FILE))
        self.index.set_num_threads(1)

    def settings(self) -> Iterator[int]:
        yield from SEARCH_WIDTHS

    def search(self, queries: np.ndarray, setting: int) -> np.ndarray:
        self.index.set_ef(setting)
        return self.index.knn_query(queries, K)[0]

    def versions(self) -> dict[str, str]:
        return {"hnswlib": version("hnswlib")}


class Voyager:
    def build(self, vectors: np.ndarray, folder: Path) -> None:
        import voyager

        space = voyager.Space.InnerProduct
        index = voyager.Index(
            space,
            vectors.shape[1],
            M=LINKS,
            ef_construction=CONSTRUCTION,
            max_elements=len(vectors),
        )
        index.add_items(vectors, num_threads=BUILD_THREADS)
        index.save(str(folder / FILE))

    def open(self, folder: Path) -> None:
        import voyager

        self.index = voyager.Index.load(str(folder / FILE))

    def settings(self) -> Iterator[int]:
        yield from SEARCH_WIDTHS

    def search(self, queries: np.ndarray, setting: int) -> np.ndarray:
        return self.index.query(queries, K, num_threads=1, query_ef=setting)[0]

    def versions(self) -> dict[str, str]:
        return {"voyager": version("voyager")}


class Faiss:
    """An index by its factory string; the inverted lists' share is swept."""

    def __init__(self, factory: str) -> None:
        self.factory = factory

    def build(self, vectors: np.ndarray, folder: Path) -> None:
        import faiss

        faiss.omp_set_num_threads(BUILD_THREADS)
        lists = max(1, round(2 * len(vectors) ** 0.5))
        name = self.factory.format(lists=lists, codes=vectors.shape[1] // 2)
        index = faiss.index_factory(vectors.shape[1], name, faiss.METRIC_INNER_PRODUCT)
        index.train(vectors[:: max(1, len(vectors) // (lists * 60))])
        index.add(vectors)
        faiss.write_index(index, str(folder / FILE))

    def open(self, folder: Path) -> None:
        import faiss

        faiss.omp_set_num_threads(1)
        self.faiss, self.index = faiss, faiss.read_index(str(folder / FILE))

    def settings(self) -> Iterator[dict[str, int]]:
        if self.factory == "Flat":
            yield {}
            return
        for probes in PROBES:
            for factor in (2, 5, 10, 30) if "RFlat" in self.factory else (0,):
                yield {"nprobe": probes, **({"k_factor_rf": factor} if factor else {})}

    def search(self, queries: np.ndarray, setting: dict[str, int]) -> np.ndarray:
        if setting:
            text = ",".join(f"{key}={value}" for key, value in setting.items())
            self.faiss.ParameterSpace().set_index_parameters(self.index, text)
        return self.index.search(queries, K)[1]

    def versions(self) -> dict[str, str]:
        return {"faiss-cpu": version("faiss-cpu")}


def make(name: str) -> Any:
    """The contestant of a name."""
    return {
        "hnswlib": Hnswlib,
        "voyager": Voyager,
        "faiss_flat": lambda: Faiss("Flat"),
        "faiss_ivf": lambda: Faiss("IVF{lists},Flat"),
        "faiss_ivf_pq": lambda: Faiss("IVF{lists},PQ{codes}x4fs,RFlat"),
    }[name]()
