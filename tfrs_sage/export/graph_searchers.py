"""How an exported `retrieval` finds its candidates: exactly, or among the nearest leaves."""

import abc

import numpy as np
import tensorflow as tf

from tfrs_sage.export.exact_search import exact_top_k
from tfrs_sage.index import Index
from tfrs_sage.index.partitioned_ops import PartitionedSearch
from tfrs_sage.types import Tensor

NO_ROW = -1


class GraphSearcher(tf.Module, abc.ABC):
    """Candidates in variables, and the searches over them that the signatures need.

    Variables are read whole and then gathered from: a gather straight from a variable
    (`ResourceGather`) makes TensorFlow copy the whole variable at every later read of it.

    Attributes:
        count: number of candidates.
        dimension: width of the vectors that are searched.
    """

    count: int
    dimension: int

    @abc.abstractmethod
    def vectors_of(self, rows: Tensor) -> Tensor:
        """float32 `[n, dimension]` of the candidates int32 `[n]`."""

    @abc.abstractmethod
    def nearest(self, queries: Tensor, excluded: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """The best candidates of each query.

        Args:
            queries: float32 `[n, dimension]`.
            excluded: int32 `[n]`, the row that may not be found for each query; -1 for none.
            k: int32 `[]`, at most the candidates there are, less the excluded one.

        Returns:
            rows: int32 `[n, k]`, best first.
            scores: float32 `[n, k]`, exact dot products.
        """

    @abc.abstractmethod
    def best_of(self, scaled: Tensor, padding: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """The best candidates by the largest dot product with any of m vectors.

        Args:
            scaled: float32 `[n, m, dimension]`.
            padding: bool `[n, m]`, vectors that take no part; not all of a row.
            k: int32 `[]`, at most the candidates there are.

        Returns:
            As `nearest`, each candidate once.
        """


class ExactGraphSearcher(GraphSearcher):
    """Every candidate is scored.

    Args:
        vectors: float32 `[N, dimension]`.
    """

    def __init__(self, vectors: np.ndarray) -> None:
        super().__init__(name="exact")
        self.count, self.dimension = (int(size) for size in vectors.shape)
        self.candidates = tf.Variable(vectors, trainable=False, name="candidates")

    def vectors_of(self, rows: Tensor) -> Tensor:
        return tf.gather(tf.convert_to_tensor(self.candidates), rows)

    def nearest(self, queries: Tensor, excluded: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        return exact_nearest(self.candidates, queries, excluded, k)

    def best_of(self, scaled: Tensor, padding: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        shape = tf.shape(scaled)
        flat = tf.reshape(scaled, [-1, self.dimension])  # [n * m, d]

        def score(chunk: Tensor) -> Tensor:
            scores = tf.matmul(flat, chunk, transpose_b=True)
            scores = tf.reshape(scores, [shape[0], shape[1], -1])  # [n, m, chunk]
            return tf.reduce_max(tf.where(padding[:, :, tf.newaxis], -np.inf, scores), axis=1)

        none = tf.fill([shape[0]], NO_ROW)
        return exact_top_k(score, self.candidates, shape[0] * shape[1], none, k)


def exact_nearest(
    candidates: Tensor, queries: Tensor, excluded: Tensor, k: Tensor
) -> tuple[Tensor, Tensor]:
    """Rows and scores `[n, k]` of the largest dot products."""
    return exact_top_k(
        lambda chunk: tf.matmul(queries, chunk, transpose_b=True),
        candidates,
        tf.shape(queries)[0],
        excluded,
        k,
    )


class ApproximateGraphSearcher(GraphSearcher):
    """Everything out of one plain search, which an approximate index gives."""

    @abc.abstractmethod
    def search(self, queries: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """int32 rows and float32 scores `[n, k]` of float32 `[n, dimension]` queries."""

    def nearest(self, queries: Tensor, excluded: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """One more is fetched, for the row that is to be left out."""
        rows, scores = self.search(queries, tf.minimum(k + 1, self.count))  # [n, k + 1]
        scores = tf.where(rows == excluded[:, tf.newaxis], -np.inf, scores)
        top = tf.math.top_k(scores, k)
        return tf.gather(rows, top.indices, batch_dims=1), top.values

    def best_of(self, scaled: Tensor, padding: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """The k best of each vector, duplicates merged into the better one.

        The k best of the maxima are among the k best of each vector, so nothing is lost.
        """
        shape = tf.shape(scaled)
        flat = tf.reshape(scaled, [-1, self.dimension])  # [n * m, d]
        rows, scores = self.search(flat, k)
        scores = tf.reshape(scores, [shape[0], shape[1], k])
        scores = tf.where(padding[:, :, tf.newaxis], -np.inf, scores)
        scores = tf.reshape(scores, [shape[0], shape[1] * k])
        rows = tf.reshape(rows, [shape[0], shape[1] * k])
        # Best first, then by row: of equal rows the first one is the better one.
        order = tf.argsort(scores, direction="DESCENDING", stable=True)
        rows, scores = tf.gather(rows, order, batch_dims=1), tf.gather(scores, order, batch_dims=1)
        order = tf.argsort(rows, stable=True)
        rows, scores = tf.gather(rows, order, batch_dims=1), tf.gather(scores, order, batch_dims=1)
        repeated = tf.pad(rows[:, 1:] == rows[:, :-1], [[0, 0], [1, 0]])
        top = tf.math.top_k(tf.where(repeated, -np.inf, scores), k)
        return tf.gather(rows, top.indices, batch_dims=1), top.values


class PartitionedGraphSearcher(ApproximateGraphSearcher):
    """The leaves nearest to a query, in core TensorFlow ops.

    Args:
        index: of the kind `partitioned`, of the candidates in their order.
    """

    def __init__(self, index: Index) -> None:
        super().__init__(name="partitioned")
        self.partitioned = PartitionedSearch.from_index(index)
        self.count, self.dimension = len(index), index.dimension

    def vectors_of(self, rows: Tensor) -> Tensor:
        return self.partitioned.vectors_of(rows)

    def search(self, queries: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        return self.partitioned(queries, k)
