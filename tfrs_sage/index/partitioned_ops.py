"""Search among k-means leaves in core TensorFlow ops, for any server that runs TensorFlow."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_sage.errors import InputError
from tfrs_sage.types import Tensor

if TYPE_CHECKING:
    from tfrs_sage.index.base import Index

BLOCK = 8  # rows that are gathered together, and scored again exactly together
GROUPED = 16  # leaves of which the best is looked at first, see `_nearest_leaves`
DESIGN_K = 100  # `blocks_to_search` is meant for so many results; more look into more blocks
GATHERED_AT_ONCE = 2**21  # numbers: a few queries' candidates, which stay in the cache
SCORINGS = ("bfloat16", "float32")


@dataclass(frozen=True)
class PartitionedParameters:
    """How the leaves are searched.

    Attributes:
        blocks_to_search: blocks that are scored for a query, for up to `DESIGN_K` results.
        rerank_factor: blocks scored again exactly, per result; at least 1.
        scoring: dtype of the first scores, one of `SCORINGS`.
    """

    blocks_to_search: int
    rerank_factor: float = 1.0
    scoring: str = "float32"


@dataclass(frozen=True)
class Layout:
    """Where each leaf's candidates lie: leaf after leaf, in blocks of `BLOCK` rows.

    A leaf's last block is filled up with copies of its last candidate, whose row is -1: a copy
    does not change the block's best score, and is left out of the answer by its row.

    Attributes:
        centroids: float32 `[num_leaves, d]`.
        bonus: float32 `[num_leaves]`, added to a centroid's score, times the query's length: the
            best of a wide leaf is farther above its mean.
        first_block: int32 `[num_leaves]`.
        num_blocks: int32 `[num_leaves]`, at least 1 each.
        rows: int32 `[num_blocks in all, BLOCK]`, the candidate in each place; -1 for none.
    """

    centroids: npt.NDArray[np.float32]
    bonus: npt.NDArray[np.float32]
    first_block: npt.NDArray[np.int32]
    num_blocks: npt.NDArray[np.int32]
    rows: npt.NDArray[np.int32]

    @classmethod
    def of(
        cls,
        vectors: npt.NDArray[np.float32],
        centroids: npt.NDArray[np.float32],
        leaf: npt.NDArray[np.integer],
    ) -> "Layout":
        """Lays out candidates by the leaf of each, `[n]`; every leaf has at least one."""
        sizes = np.bincount(leaf)
        num_blocks = -(-sizes // BLOCK)
        first_block = np.cumsum(num_blocks) - num_blocks
        rows = np.full(int(num_blocks.sum()) * BLOCK, -1, np.int32)
        within = np.arange(len(leaf)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        rows[np.repeat(first_block * BLOCK, sizes) + within] = np.argsort(leaf, kind="stable")
        # Variance of a leaf over twice the mean length: with vectors of length 1 the order is
        # that of the Euclidean distances to the centroids.
        squares = np.einsum("nd,nd->n", vectors, vectors)
        variance = np.bincount(leaf, squares) / sizes - np.square(centroids).sum(axis=1)
        bonus = variance / max(2 * float(np.sqrt(squares).mean()), 1e-12)
        return cls(
            centroids,
            bonus.astype(np.float32),
            first_block.astype(np.int32),
            num_blocks.astype(np.int32),
            rows.reshape(-1, BLOCK),
        )

    def blocks(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """`[num_blocks in all, BLOCK * d]`: the vectors in their places, and the copies."""
        flat = self.rows.reshape(-1)
        last = np.maximum.accumulate(np.where(flat >= 0, np.arange(len(flat)), 0))
        return vectors[flat[last]].reshape(len(self.rows), -1)

    def place_of_row(self) -> npt.NDArray[np.int32]:
        """int32 `[n]`: where each candidate lies, counted over all blocks."""
        flat = self.rows.reshape(-1)
        places = np.flatnonzero(flat >= 0)
        result = np.empty(len(places), np.int32)
        result[flat[places]] = places
        return result

    def least_held(self) -> npt.NDArray[np.int32]:
        """Candidates in the i + 1 smallest leaves: any i + 1 leaves hold as many."""
        held = np.add.reduceat((self.rows >= 0).sum(axis=1), self.first_block)
        return np.cumsum(np.sort(held)).astype(np.int32)


class PartitionedSearch(tf.Module):
    """Best candidates by dot product, looked for in the leaves nearest to each query.

    1. The query's products with the centroids order the leaves; the first blocks of these leaves,
       a fixed number however large the leaves are, are gathered.
    2. They are scored, in bfloat16 where that is faster; the best of each block's scores counts.
    3. The best blocks are scored again exactly, in float32. The k best rows are in the k best
       blocks, so that with float32 scoring nothing of what was gathered is lost.

    Candidates are in variables, never constants (a graph ends at 2 GB). Variables are read whole
    and gathered from: a gather straight from a variable (`ResourceGather`) makes every later read
    of it a copy of the whole.

    Attributes:
        count: number of candidates.
        dimension: d.
        blocks_to_search: int32 variable, see `PartitionedParameters`; may be assigned.
    """

    def __init__(
        self,
        layout: Layout,
        vectors: npt.NDArray[np.float32],
        parameters: PartitionedParameters,
    ) -> None:
        """Copies the candidates, float32 `[n, d]`, into variables, leaf by leaf."""
        super().__init__(name="partitioned_search")
        self.count, self.dimension = int(vectors.shape[0]), int(vectors.shape[1])
        self.num_leaves, self.num_blocks = len(layout.centroids), len(layout.rows)
        self._blocks_per_leaf = self.num_blocks / self.num_leaves
        self.rerank_factor = parameters.rerank_factor
        self.blocks_to_search = _variable(np.int32(parameters.blocks_to_search), "to_search")
        # One row more for the bonus, and leaves that are never chosen up to a multiple.
        missing = -self.num_leaves % GROUPED
        centroids = np.pad(layout.centroids, [(0, missing), (0, 0)]).T
        bonus = np.pad(layout.bonus, [(0, missing)], constant_values=-np.inf)
        self._centroids = _variable(centroids, "centroids")  # [d, leaves]
        self._bonus = _variable(bonus, "bonus")
        self._leaves = _variable(
            np.stack([layout.first_block, layout.num_blocks], axis=1), "leaves"
        )
        self._least_held = _variable(layout.least_held(), "least_held")
        self._rows = _variable(layout.rows, "rows")
        self._vectors = _variable(layout.blocks(vectors), "vectors")
        self._place_of_row = _variable(layout.place_of_row(), "place_of_row")
        self._scored = self._vectors
        if parameters.scoring != "float32":
            self._scored = _variable(tf.cast(self._vectors, parameters.scoring), "quantised")

    @classmethod
    def from_index(cls, index: "Index") -> "PartitionedSearch":
        """The search of an index of the kind `partitioned`: its own, not a copy of its vectors.

        Raises:
            InputError: the index is of another kind, or was changed since it was built.
        """
        from tfrs_sage.index.partitioned import PartitionedSearcher  # imports this module

        searcher = index.searcher
        if not isinstance(searcher, PartitionedSearcher) or index.is_changed:
            raise InputError(
                "a PartitionedSearch is made from an index of the kind 'partitioned' without "
                f"pending changes. Received: kind={index.kind!r}, changed={index.is_changed}. "
                "Build one of that kind, or call its `compact()` first."
            )
        return searcher.module

    def __call__(self, queries: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """The best candidates of each query.

        Args:
            queries: float32 `[n, d]`.
            k: int32 `[]`, 1 to `count`.

        Returns:
            rows: int32 `[n, k]`, best first, each once; never -1.
            scores: float32 `[n, k]`, the exact dot products.
        """
        count = tf.shape(queries)[0]
        num_leaves, num_blocks = self._effort(k)
        most = tf.maximum(num_blocks, self._num_reranked(k)) * BLOCK * self.dimension
        chunk = tf.maximum(GATHERED_AT_ONCE // most, 1)

        def step(start: Tensor, rows: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
            stop = tf.minimum(start + chunk, count)
            part = queries[start:stop]
            blocks, there = self._blocks_of(self._nearest_leaves(part, num_leaves), num_blocks)
            best = tf.where(there, self._best_of_blocks(part, blocks), -np.inf)
            found = self._rerank(part, blocks, best, k)
            return stop, tf.concat([rows, found[0]], 0), tf.concat([scores, found[1]], 0)

        _, rows, scores = tf.while_loop(
            lambda start, *_: start < count,
            step,
            (tf.constant(0), tf.zeros([0, k], tf.int32), tf.zeros([0, k])),
            shape_invariants=(tf.TensorShape([]), *[tf.TensorShape([None, None])] * 2),
            parallel_iterations=1,
        )
        return rows, scores

    def vectors_of(self, rows: Tensor) -> Tensor:
        """float32 `[n, d]`: the vectors of the candidates int32 `[n]`."""
        places = tf.gather(tf.identity(self._place_of_row), rows)
        return tf.gather(tf.reshape(tf.identity(self._vectors), [-1, self.dimension]), places)

    # === Effort ===

    def _effort(self, k: Tensor) -> tuple[Tensor, Tensor]:
        """Leaves and blocks of a query, both int32 `[]`, that hold k candidates in any case."""
        blocks = self.blocks_to_search * (1 + (k - 1) // DESIGN_K)
        blocks = tf.minimum(tf.maximum(blocks, k), self.num_blocks)  # a block holds at least one
        # Leaves near a query may be small: twice as many as hold the blocks on average.
        leaves = tf.cast(2 * tf.cast(blocks, tf.float32) / self._blocks_per_leaf, tf.int32) + 2
        enough = 1 + tf.searchsorted(self._least_held, [k])[0]
        return tf.minimum(tf.maximum(leaves, enough), self.num_leaves), blocks

    def _num_reranked(self, k: Tensor) -> Tensor:
        return tf.cast(tf.math.ceil(self.rerank_factor * tf.cast(k, tf.float32)), tf.int32)

    # === Search ===

    def _nearest_leaves(self, queries: Tensor, num_leaves: Tensor) -> Tensor:
        """int32 `[n, num_leaves]`, best first."""
        scores = tf.matmul(queries, self._centroids)  # [n, leaves]
        scores += tf.norm(queries, axis=1, keepdims=True) * self._bonus
        # The best p leaves are in the p groups with the best leaf: `top_k` is slow on many.
        width = self._bonus.shape[0] // GROUPED
        groups = tf.reshape(scores, [-1, GROUPED, width])
        best = tf.math.top_k(tf.reduce_max(groups, axis=1), tf.minimum(num_leaves, width)).indices
        members = tf.gather(groups, best, axis=2, batch_dims=1)  # [n, GROUPED, groups]
        top = tf.math.top_k(tf.reshape(members, [tf.shape(queries)[0], -1]), num_leaves).indices
        in_group, group = top // tf.shape(best)[1], top % tf.shape(best)[1]
        return in_group * width + tf.gather(best, group, batch_dims=1)

    def _blocks_of(self, leaves: Tensor, num_blocks: Tensor) -> tuple[Tensor, Tensor]:
        """The first `num_blocks` blocks in the leaves of each query.

        Returns:
            int32 `[n, num_blocks]`, and whether there was such a block, bool.
        """
        place = tf.gather(tf.identity(self._leaves), leaves)  # [n, leaves, 2]
        ends = tf.cumsum(place[:, :, 1], axis=1)
        wanted = tf.tile(tf.range(num_blocks)[tf.newaxis], [tf.shape(leaves)[0], 1])
        leaf = tf.searchsorted(ends, wanted, side="right")  # [n, num_blocks]
        there = wanted < ends[:, -1:]
        leaf = tf.where(there, leaf, 0)
        before = place[:, :, 0] - ends + place[:, :, 1]  # first block less those of leaves before
        blocks = wanted + tf.gather(before, leaf, batch_dims=1)
        return tf.where(there, blocks, 0), there

    def _best_of_blocks(self, queries: Tensor, blocks: Tensor) -> Tensor:
        """float32 `[n, blocks]`: the best of each block's first scores."""
        vectors = tf.gather(tf.identity(self._scored), blocks)  # [n, blocks, BLOCK * d]
        shape = tf.shape(blocks)
        vectors = tf.reshape(vectors, [shape[0], shape[1] * BLOCK, self.dimension])
        queries = tf.cast(queries, vectors.dtype)[:, tf.newaxis]
        scores = tf.matmul(queries, vectors, transpose_b=True)  # [n, 1, blocks * BLOCK]
        # Maxima of bfloat16 are slow, so that the cast comes first.
        scores = tf.reshape(tf.cast(scores, tf.float32), [shape[0], shape[1], BLOCK])
        return tf.reduce_max(scores, axis=2)

    def _rerank(
        self, queries: Tensor, blocks: Tensor, scores: Tensor, k: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The `k` best rows of the best blocks by their exact scores: both `[n, k]`."""
        best = tf.math.top_k(scores, tf.minimum(self._num_reranked(k), tf.shape(scores)[1]))
        chosen = tf.gather(blocks, best.indices, batch_dims=1)  # [n, r]
        rows = tf.gather(tf.identity(self._rows), chosen)  # [n, r, BLOCK]
        there = (rows >= 0) & (best.values > -np.inf)[:, :, tf.newaxis]
        shape = tf.shape(chosen)
        vectors = tf.gather(tf.identity(self._vectors), chosen)  # [n, r, BLOCK * d]
        vectors = tf.reshape(vectors, [shape[0], shape[1] * BLOCK, self.dimension])
        exact = tf.matmul(queries[:, tf.newaxis], vectors, transpose_b=True)[:, 0]
        exact = tf.where(tf.reshape(there, tf.shape(exact)), exact, -np.inf)
        top = tf.math.top_k(exact, k)
        rows = tf.reshape(rows, tf.shape(exact))
        return tf.gather(rows, top.indices, batch_dims=1), top.values


def _variable(value: npt.ArrayLike, name: str) -> tf.Variable:
    return tf.Variable(value, trainable=False, name=name)
