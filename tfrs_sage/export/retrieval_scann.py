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

from tfrs_sage.export.graph_searchers import NO_ROW, ApproximateGraphSearcher, exact_nearest
from tfrs_sage.export.retrieval import save_retrieval
from tfrs_sage.export.retrieval_module import retrieval_module
from tfrs_sage.index.checks import as_ids, as_vectors
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


class ScannGraphSearcher(ApproximateGraphSearcher):
    """ScaNN's searcher; `tune` chooses its parameters.

    Args:
        vectors: float32 `[N, dimension]`.

    Raises:
        ImportError: ScaNN is not installed.
    """

    parameters: ScannParameters

    def __init__(self, vectors: np.ndarray) -> None:
        super().__init__(name="scann")
        import_scann()  # the helpful error
        from scann.scann_ops.py import scann_ops

        self.count, self.dimension = (int(size) for size in vectors.shape)
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
        compiled = tf.function(self.search)

        def search(queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
            rows, scores = compiled(tf.constant(queries), tf.constant(k))
            return rows.numpy().astype(np.int64), scores.numpy()

        return search

    @property
    def candidates(self) -> Tensor:
        """float32 `[N, d]`: ScaNN keeps the vectors for its exact rescoring already."""
        return tf.ensure_shape(self.scann_state.dataset, [None, self.dimension])

    def vectors_of(self, rows: Tensor) -> Tensor:
        return tf.gather(self.candidates, rows)

    def search(self, queries: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
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
        reordered = tf.minimum(k * factor, self.count) if factor else -1
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
        asked = tf.boolean_mask(queries, short)
        none = tf.fill([tf.shape(asked)[0]], NO_ROW)
        exact_rows, exact_scores = exact_nearest(self.candidates, asked, none, k)
        places = tf.where(short)
        return (
            tf.tensor_scatter_nd_update(rows, places, exact_rows),
            tf.tensor_scatter_nd_update(scores, places, exact_scores),
        )


def export_retrieval_scann(
    query_tower: Any,
    vectors: Any,
    ids: Sequence[Any],
    root: str | Path,
    queries: Sequence[str],
    *,
    name: str = "retrieval_scann",
    recall_target: float = 0.95,
    prefix: int | None = None,
    manifest: Mapping[str, Any] | None = None,
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
    whole = as_vectors(vectors)
    names = [str(i) for i in as_ids(ids, len(whole))]
    searched = cut_to_prefix(whole, prefix)
    searcher = ScannGraphSearcher(searched)
    found = searcher.tune(searched, recall_target)
    index = {
        "kind": "scann",
        "recall_target": recall_target,
        **found.to_json(),
        "parameters": asdict(searcher.parameters),
    }
    content = {"index": index, **(manifest or {})}
    with retrieval_module(query_tower, searcher, names, whole.shape[1]) as module:
        return save_retrieval(
            module,
            whole,
            names,
            root,
            name,
            queries,
            content,
            namespaces=(NAMESPACE,),
            check=check,
        )
