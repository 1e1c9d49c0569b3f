"""Query tower and index in one graph of stock ops, with the signatures of `retrieval`."""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_sage.errors import InputError
from tfrs_sage.export.graph_searchers import NO_ROW, GraphSearcher
from tfrs_sage.export.savedmodel import as_query_tower
from tfrs_sage.index.prefix import LEAST_SQUARE
from tfrs_sage.types import Tensor


def checked_k(k: Tensor, most: int) -> Tensor:
    """`k` clipped to the candidates there are; k < 1 is INVALID_ARGUMENT."""
    positive = tf.debugging.Assert(k > 0, ["`k` must be a positive int. Received:", k])
    with tf.control_dependencies([positive]):
        return tf.minimum(k, most)


class Retrieval(tf.Module):
    """Answers in product ids, from text, from a product, or from a user's vectors.

    Args:
        query_tower: callable, string `[n]` -> float32 `[n, d]`; a tf.Module, so that what
            it uses is saved.
        searcher: over N candidates of the towers' width d, or of a prefix of it.
        ids: N product ids.
        ids_file: text file with the same ids, one a line; becomes an asset.
        embedding_dim: d. Whatever comes in is as wide and is cut inside, so that clients are the
            same with any prefix.
    """

    def __init__(
        self,
        query_tower: Any,
        searcher: GraphSearcher,
        ids: Sequence[str],
        ids_file: Path,
        embedding_dim: int,
    ) -> None:
        super().__init__(name="retrieval")
        self.query_tower = query_tower
        self.searcher = searcher
        self.embedding_dim = embedding_dim
        self.product_ids = tf.Variable(
            np.array([i.encode() for i in ids], dtype=object), dtype=tf.string, trainable=False
        )
        self.row_of_id = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                str(ids_file),
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
            ),
            default_value=NO_ROW,
        )

    # === Signatures ===

    def search(self, query: Tensor, k: Tensor) -> dict[str, Tensor]:
        """Products for texts: string `[n]` -> ids and scores `[n, k]`."""
        queries = self._cut(self.query_tower(query))  # [n, dimension]
        none = tf.fill([tf.shape(queries)[0]], NO_ROW)
        k = checked_k(k, self.searcher.count)
        return self._answer(*self.searcher.nearest(queries, none, k))

    def similar(self, product_id: Tensor, k: Tensor) -> dict[str, Tensor]:
        """Products near products, themselves left out; an unknown id is INVALID_ARGUMENT."""
        rows = tf.cast(self.row_of_id.lookup(product_id), tf.int32)  # [n]
        unknown = tf.boolean_mask(product_id, rows == NO_ROW)
        known = tf.debugging.Assert(
            tf.size(unknown) == 0, ["unknown product_id:", unknown], summarize=5
        )
        with tf.control_dependencies([known]):
            queries = self.searcher.vectors_of(rows)  # [n, dimension]
        k = checked_k(k, self.searcher.count - 1)
        return self._answer(*self.searcher.nearest(queries, rows, k))

    def recommend(self, embedding: Tensor, weight: Tensor, k: Tensor) -> dict[str, Tensor]:
        """Products for users of m vectors: a score is the largest of weight * dot.

        Vectors of weight 0 are padding and take no part, unless a user has no other.
        """
        same = tf.debugging.assert_equal(
            tf.shape(embedding)[:2],
            tf.shape(weight),
            "`weight` must have the shape [n, m] of `embedding` [n, m, d].",
        )
        with tf.control_dependencies([same]):
            scaled = self._cut(embedding) * weight[:, :, tf.newaxis]  # [n, m, dimension]
        padding = (weight == 0) & tf.reduce_any(weight != 0, axis=1, keepdims=True)
        k = checked_k(k, self.searcher.count)
        return self._answer(*self.searcher.best_of(scaled, padding, k))

    def signatures(self) -> dict[str, Any]:
        """Concrete functions by name, `serving_default` being `search`."""
        k = tf.TensorSpec([], tf.int32, name="k")
        search = tf.function(self.search).get_concrete_function(
            query=tf.TensorSpec([None], tf.string, name="query"), k=k
        )
        similar = tf.function(self.similar).get_concrete_function(
            product_id=tf.TensorSpec([None], tf.string, name="product_id"), k=k
        )
        recommend = tf.function(self.recommend).get_concrete_function(
            embedding=tf.TensorSpec([None, None, self.embedding_dim], tf.float32, name="embedding"),
            weight=tf.TensorSpec([None, None], tf.float32, name="weight"),
            k=k,
        )
        return {
            "serving_default": search,
            "search": search,
            "similar": similar,
            "recommend": recommend,
        }

    # === Parts ===

    def _cut(self, embeddings: Tensor) -> Tensor:
        """float32 `[..., d]` -> `[..., dimension]`: as `cut_to_prefix`, in the graph."""
        if self.searcher.dimension == self.embedding_dim:
            return embeddings
        return tf.math.l2_normalize(embeddings[..., : self.searcher.dimension], -1, LEAST_SQUARE)

    def _answer(self, rows: Tensor, scores: Tensor) -> dict[str, Tensor]:
        # Read whole, then gathered from: see `GraphSearcher`.
        ids = tf.convert_to_tensor(self.product_ids)
        return {"product_id": tf.gather(ids, rows), "score": scores}


@contextlib.contextmanager
def retrieval_module(
    query_tower: Any, searcher: GraphSearcher, ids: Sequence[str], embedding_dim: int
) -> Iterator[Retrieval]:
    """A `Retrieval` in memory; the asset file of its ids lives as long as the context.

    Raises:
        InputError: a query tower of another width.
    """
    tower = as_query_tower(query_tower)
    width = int(tower(tf.constant([""])).shape[-1])
    if width != embedding_dim:
        raise InputError(
            "the query tower and the candidates must have one width. Received: "
            f"{width} and {embedding_dim}. Embed the candidates with the same run's model."
        )
    with tempfile.TemporaryDirectory() as folder:
        ids_file = Path(folder) / "product_ids.txt"
        ids_file.write_bytes("".join(f"{i}\n" for i in ids).encode())
        yield Retrieval(tower, searcher, ids, ids_file, embedding_dim)
