"""The `retrieval_scann` SavedModel: the signatures of `retrieval` on ScaNN's ops.

Stock TF Serving lacks these ops; this project's server has them where ScaNN is installed.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_sage.export.retrieval import Retrieval, exact_top_k, retrieval_module, save_checked
from tfrs_sage.index.prefix import cut_to_prefix
from tfrs_sage.index.recall import Measurement, RecallMeter, Search, held_out_queries
from tfrs_sage.index.scann_index import (
    ScannParameters,
    candidate_parameters,
    cheapest_reaching,
    configure,
    import_scann,
)
from tfrs_sage.types import Tensor

NAMESPACE = "Scann"


class ScannRetrieval(Retrieval):
    """`Retrieval` whose nearest neighbours are ScaNN's; `tune` chooses its parameters."""

    parameters: ScannParameters

    def _keep_candidates(self, vectors: np.ndarray) -> None:
        import_scann()  # the helpful error
        from scann.scann_ops.py import scann_ops

        self._ops = scann_ops
        # The largest setting shapes the searcher; what is searched is decided per call.
        self.parameters = candidate_parameters(*vectors.shape)[-1]
        builder = configure(scann_ops.builder(vectors, 10, "dot_product"), self.parameters)
        self.scann_state = builder.build().serialize_to_module()
        # One searcher for all signatures, and never another model's or version's: ScaNN finds
        # a searcher that the process holds already by this name.
        self._shared_name = f"tfrs_sage_{uuid.uuid4().hex}"

    def tune(self, vectors: np.ndarray, recall_target: float, seed: int = 0) -> Measurement:
        """Takes the cheapest parameters that reach `recall_target`; says what they reach."""
        meter = RecallMeter(vectors, held_out_queries(vectors, seed))
        count, dimension = vectors.shape
        self.parameters, found = cheapest_reaching(
            candidate_parameters(count, dimension), self._search_with, meter, recall_target
        )
        return found

    def _search_with(self, parameters: ScannParameters) -> Search:
        """A numpy search at `parameters`, for the recall measurement."""
        self.parameters = parameters
        nearest = tf.function(self._nearest)

        def search(queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
            none = tf.fill([len(queries)], -1)
            rows, scores = nearest(tf.constant(queries), none, tf.constant(k))
            return rows.numpy().astype(np.int64), scores.numpy()

        return search

    @property
    def candidates(self) -> Tensor:
        """float32 `[N, d]`: ScaNN keeps the vectors for its exact rescoring already."""
        return tf.ensure_shape(self.scann_state.dataset, [None, self.dimension])

    def _nearest(self, queries: Tensor, excluded: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Rows and scores `[n, k]`; one more is fetched where a row is to be left out."""
        most = tf.minimum(k + 1, self._count())
        rows, scores = self._scann(queries, most)  # [n, k + 1]
        scores = tf.where(rows == excluded[:, tf.newaxis], -np.inf, scores)
        top = tf.math.top_k(scores, k)
        return tf.gather(rows, top.indices, batch_dims=1), top.values

    def _scann(self, queries: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        state = self.scann_state
        handle = self._ops.tensors_to_scann(
            state.dataset,
            state.scann_config,
            state.serialized_partitioner,
            state.datapoint_to_token,
            state.ah_codebook,
            state.hashed_dataset,
            state.int8_dataset,
            state.int8_multipliers,
            state.dp_norms,
            shared_name=self._shared_name,
        )
        factor = self.parameters.reorder_factor
        reordered = tf.minimum(k * factor, self._count()) if factor else -1
        leaves = self.parameters.num_leaves_to_search or -1
        rows, scores = self._ops.ScannSearcher(handle).search_batched_parallel(
            queries, k, reordered, leaves
        )
        rows, scores = tf.ensure_shape(rows, [None, None]), tf.ensure_shape(scores, [None, None])
        # The leaves looked into may hold fewer than k candidates: ScaNN then returns fewer
        # columns, or NaN where other queries have more. Such queries are answered exactly, so
        # that k results come back whenever k exist; each by itself, so that an answer, and the
        # recall that is measured, do not depend on what else is in the batch.
        absent = tf.maximum(0, k - tf.shape(scores)[1])
        rows = tf.pad(rows, [[0, 0], [0, absent]])
        scores = tf.pad(scores, [[0, 0], [0, absent]], constant_values=np.nan)
        short = tf.reduce_any(tf.math.is_nan(scores), axis=1)  # [n]
        return tf.cond(
            tf.reduce_any(short),
            lambda: self._with_exact(queries, rows, scores, short, k),
            lambda: (rows, scores),
        )

    def _with_exact(
        self, queries: Tensor, rows: Tensor, scores: Tensor, short: Tensor, k: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The answers with those of the `short` queries replaced by exact ones."""
        exact_rows, exact_scores = self._exact(tf.boolean_mask(queries, short), k)
        places = tf.where(short)
        return (
            tf.tensor_scatter_nd_update(rows, places, exact_rows),
            tf.tensor_scatter_nd_update(scores, places, exact_scores),
        )

    def _exact(self, queries: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        num_queries = tf.shape(queries)[0]
        return exact_top_k(
            lambda chunk: tf.matmul(queries, chunk, transpose_b=True),
            self.candidates,
            num_queries,
            tf.fill([num_queries], -1),
            k,
        )

    def _best_of(self, scaled: Tensor, padding: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """The best of m vectors: the k best of each, duplicates merged into the better one.

        The k best of the maxima are among the k best of each vector, so nothing is lost.
        """
        shape = tf.shape(scaled)
        flat = tf.reshape(scaled, [-1, self.dimension])  # [n * m, d]
        rows, scores = self._nearest(flat, tf.fill([shape[0] * shape[1]], -1), k)
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


def export_retrieval_scann(
    query_tower: Any,
    vectors: Any,
    ids: Sequence[Any],
    root: str | Path,
    *,
    name: str = "retrieval_scann",
    recall_target: float = 0.95,
    prefix: int | None = None,
    manifest: Mapping[str, Any] | None = None,
    probe_queries: Sequence[str] = (),
    check: bool = True,
) -> Path:
    """As `export.retrieval.export_retrieval`, on ScaNN's ops.

    Args:
        recall_target: the least recall at 10 and 100 neighbours, measured on held-out
            queries against exact search; stated in the manifest. The others are those of
            `export_retrieval`.

    Raises:
        ImportError: ScaNN is not installed.
        InputError: bad vectors, ids or prefix, widths that differ, a recall that is not reached.
        RuntimeError: the reloaded model answers otherwise than the one in memory.
    """
    with retrieval_module(query_tower, vectors, ids, ScannRetrieval, prefix) as module:
        found = module.tune(cut_to_prefix(vectors, prefix), recall_target)
        content = {
            "recall_target": recall_target,
            **found.to_json(),
            "parameters": asdict(module.parameters),
            **(manifest or {}),
        }
        return save_checked(
            module, vectors, ids, root, name, content, probe_queries, (NAMESPACE,), check
        )
