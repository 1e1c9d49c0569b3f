"""The partitioned kind: k-means leaves searched in core TensorFlow ops, at a stated recall."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_sage.errors import InputError
from tfrs_sage.index.leaves import make_leaves
from tfrs_sage.index.partitioned_ops import Layout, PartitionedParameters, PartitionedSearch
from tfrs_sage.index.recall import Measurement, RecallMeter, held_out_queries
from tfrs_sage.index.searcher import FloatArray, RowArray, Searcher

LAYOUT_FILE = "leaves.npz"
# Few rows a leaf, so that little is scored in vain, until the centroids themselves cost as much.
ROWS_PER_LEAF, LEAVES_PER_ROOT = 100, 8
# Scoring and blocks scored again per result: bfloat16 has 8 bits, so that it needs more of them.
TRIED = (("float32", 1.0), ("bfloat16", 2.0))
FIRST_TRIED = 8  # blocks
FACTORS = (0.125, 0.25, 0.5, 1, 2, 4)  # of the blocks that were chosen, for a curve


class PartitionedSearcher(Searcher):
    """Leaves and their search; the numpy side of `PartitionedSearch`.

    Searches run in the very module that is exported, so that what is measured is what is served.

    Attributes:
        layout: the leaves.
        parameters: how they are searched.
        module: the search itself, with the candidates in its variables.
    """

    kind = "partitioned"
    is_exact = False

    def __init__(
        self, vectors: FloatArray, layout: Layout, parameters: PartitionedParameters
    ) -> None:
        super().__init__(vectors)
        self.layout = layout
        self.parameters = parameters
        self.module = PartitionedSearch(layout, vectors, parameters)
        signature = (
            tf.TensorSpec([None, vectors.shape[1]], tf.float32),
            tf.TensorSpec([], tf.int32),
        )
        # A concrete function takes half the time of a tf.function to call.
        self._compiled = tf.function(self.module.__call__).get_concrete_function(*signature)

    @classmethod
    def build(
        cls, vectors: FloatArray, recall_target: float, seed: int, queries: FloatArray | None
    ) -> tuple["PartitionedSearcher", dict[str, Any]]:
        """Trains the leaves, then searches for the fastest parameters.

        Raises:
            InputError: no setting reaches `recall_target` at 10 and 100 neighbours.
        """
        layout = make_layout(vectors, seed)
        meter = RecallMeter(vectors, held_out_queries(vectors, seed, queries))
        found = [
            one
            for scoring, factor in TRIED
            if (one := _cheapest(vectors, layout, scoring, factor, meter, recall_target))
        ]
        if not found:
            raise InputError(
                f"no parameters of a partitioned index reach recall {recall_target} over these "
                f"{len(vectors)} vectors. Lower `recall_target`, or take kind='brute_force'."
            )
        searcher, measured = max(found, key=lambda one: one[1].queries_per_second)
        report = {
            "recall_target": recall_target,
            **measured.to_json(),
            "num_leaves": len(layout.centroids),
            "parameters": asdict(searcher.parameters),
        }
        return searcher, report

    def looking_into(self, count: int) -> "PartitionedSearcher":
        """The same searcher, from now on looking into `count` blocks for a query."""
        self.parameters = replace(self.parameters, blocks_to_search=count)
        self.module.blocks_to_search.assign(count)
        return self

    def at_other_settings(self) -> Iterator[Searcher]:
        chosen, most = self.parameters.blocks_to_search, len(self.layout.rows)
        for count in sorted({min(most, max(1, round(chosen * f))) for f in FACTORS}):
            yield self.looking_into(count)
        self.looking_into(chosen)

    def search_rows(self, queries: FloatArray, k: int) -> tuple[RowArray, FloatArray]:
        rows, scores = self._compiled(tf.constant(queries), tf.constant(k, tf.int32))
        return rows.numpy().astype(np.int64), scores.numpy()

    def save_assets(self, folder: Path) -> None:
        np.savez(folder / LAYOUT_FILE, **vars(self.layout))

    @classmethod
    def load(
        cls, folder: Path, vectors: FloatArray, report: Mapping[str, Any]
    ) -> "PartitionedSearcher":
        with np.load(folder / LAYOUT_FILE) as arrays:
            layout = Layout(**arrays)
        return cls(vectors, layout, PartitionedParameters(**report["parameters"]))


def make_layout(vectors: FloatArray, seed: int) -> Layout:
    """The leaves of the usual size, laid out."""
    num_leaves = min(len(vectors) / ROWS_PER_LEAF, LEAVES_PER_ROOT * math.sqrt(len(vectors)))
    return Layout.of(vectors, *make_leaves(vectors, max(1, round(num_leaves)), seed))


def _cheapest(
    vectors: FloatArray,
    layout: Layout,
    scoring: str,
    factor: float,
    meter: RecallMeter,
    recall_target: float,
) -> tuple[PartitionedSearcher, Measurement] | None:
    """A searcher of the fewest blocks that reach the target; None where all of them do not.

    Recall grows with the blocks looked into, so that halving finds them.
    """
    searcher = PartitionedSearcher(
        vectors, layout, PartitionedParameters(FIRST_TRIED, factor, scoring)
    )
    failing, count = 0, FIRST_TRIED
    while (found := meter.measure(searcher.looking_into(count).search_rows)).worst < recall_target:
        if count == len(layout.rows):
            return None
        failing, count = count, min(2 * count, len(layout.rows))
    while count - failing > max(1, count // 16):
        middle = (failing + count) // 2
        tried = meter.measure(searcher.looking_into(middle).search_rows)
        if tried.worst < recall_target:
            failing = middle
        else:
            count, found = middle, tried
    return searcher.looking_into(count), found
