"""Exports `retrieval`: the index that fits, real rows to warm it up, a manifest."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_sage.errors import InputError
from tfrs_sage.export.graph_searchers import ExactGraphSearcher, PartitionedGraphSearcher
from tfrs_sage.export.retrieval_module import Retrieval, retrieval_module
from tfrs_sage.export.save import Export, save_versions
from tfrs_sage.export.warmup import NUM_ROWS, Request, at_batch_sizes
from tfrs_sage.index import Index, build_index
from tfrs_sage.index.checks import as_ids, as_vectors
from tfrs_sage.index.prefix import cut_to_prefix

KINDS = ("auto", "brute_force", "partitioned")
_WARMUP_K = 10
_WARMUP_WEIGHTS = (1.0, 0.5, 0.25)


def warmup_requests(
    queries: Sequence[str], vectors: np.ndarray, ids: Sequence[str]
) -> list[Request]:
    """Every signature at several batch sizes: texts, products, and users out of products.

    Args:
        queries: real query texts.
        vectors: float32 `[N, d]`, whole embeddings of the candidates.
        ids: N product ids.
    """
    texts = np.array([q.encode() for q in queries[:NUM_ROWS]], dtype=object)
    first = np.array([i.encode() for i in ids[:NUM_ROWS]], dtype=object)
    # A user's vectors are medoids, which are embeddings of what the user has seen.
    of_user = (np.arange(len(first))[:, np.newaxis] + np.arange(len(_WARMUP_WEIGHTS))) % len(ids)
    users = {
        "embedding": np.asarray(vectors[of_user], np.float32),
        "weight": np.tile(np.array(_WARMUP_WEIGHTS, np.float32), [len(first), 1]),
    }
    k = np.array(_WARMUP_K, np.int32)
    return [
        *at_batch_sizes("serving_default", {"query": texts}, k=k),
        *at_batch_sizes("search", {"query": texts}, k=k),
        *at_batch_sizes("similar", {"product_id": first}, k=k),
        *at_batch_sizes("recommend", users, k=k),
    ]


def export_retrieval(
    query_tower: Any,
    vectors: Any,
    ids: Sequence[Any],
    root: str | Path,
    queries: Sequence[str],
    *,
    name: str = "retrieval",
    kind: str = "auto",
    recall_target: float = 0.95,
    index: Index | None = None,
    prefix: int | None = None,
    manifest: Mapping[str, Any] | None = None,
    check: bool = True,
) -> Path:
    """Exports `<root>/<name>/<next version>`, checked in a fresh process before it appears.

    Args:
        query_tower: tf.Module called with string `[n]`, giving float32 `[n, d]`; or the
            version folder of an exported `query_tower`.
        vectors: float `[N, d]`, the candidates' embeddings.
        ids: N product ids, each once.
        root: folder of the exported models.
        queries: real query texts, at least one: those of the warm-up and of the check.
        name: the model's name.
        kind: `brute_force`, `partitioned`, or `auto`: by the number of candidates.
        recall_target: the least recall of a partitioned index; stated in the manifest.
        index: one that was built from the same vectors, cut to `prefix`, and ids; it is taken as
            it is when it is brute force or partitioned, and none is built.
        prefix: how many components of the embeddings are searched, each L2-normalised again;
            None for all. The inputs of the signatures keep their width d.
        manifest: more to keep in the manifest (model fingerprint, config...).
        check: replay the warm-up in a fresh process and compare ids and scores.

    Returns:
        The new version's folder.

    Raises:
        InputError: bad vectors, ids, kind or prefix, widths that differ, no query, an index of
            other candidates, a recall that is not reached.
        RuntimeError: the reloaded model answers otherwise than the one in memory.
    """
    if kind not in KINDS:
        raise InputError(
            f"`retrieval` is of a kind on stock ops: {', '.join(KINDS)}. Received: kind={kind!r}. "
            "ScaNN is `export_retrieval_scann`."
        )
    whole = as_vectors(vectors)
    names = [str(i) for i in as_ids(ids, len(whole))]
    searched = cut_to_prefix(whole, prefix)
    if index is not None:
        _require_same_candidates(index, names, searched)
    if index is None or index.kind not in KINDS:
        index = build_index(searched, names, kind, recall_target)
    searcher = (
        PartitionedGraphSearcher(index)
        if index.kind == "partitioned"
        else ExactGraphSearcher(searched)
    )
    content = {"index": {"kind": index.kind, **index.report}, **(manifest or {})}
    with retrieval_module(query_tower, searcher, names, whole.shape[1]) as module:
        return save_retrieval(module, whole, names, root, name, queries, content, check=check)


def save_retrieval(
    module: Retrieval,
    vectors: np.ndarray,
    ids: Sequence[str],
    root: str | Path,
    name: str,
    queries: Sequence[str],
    manifest: Mapping[str, Any],
    *,
    namespaces: Sequence[str] = (),
    check: bool = True,
) -> Path:
    """Saves a retrieval module as the next version of the model `name`."""
    dimension, width = module.searcher.dimension, module.embedding_dim
    content = {
        "count": len(ids),
        "embedding_dim": width,
        "dimension": dimension,
        "prefix": dimension if dimension < width else None,
        **manifest,
    }
    warmup = warmup_requests(queries, vectors, ids)
    export = Export(name, module, module.signatures(), warmup, content, namespaces)
    return save_versions([export], root, check=check)[name]


def _require_same_candidates(index: Index, ids: Sequence[str], vectors: np.ndarray) -> None:
    if list(index.ids) == list(ids) and np.array_equal(index.vectors, vectors):
        return
    raise InputError(
        "the index must be of the candidates that are exported, in their order, with the same "
        f"vectors. Found: {len(index)} candidates of width {index.dimension} in the index, "
        f"{len(ids)} of width {vectors.shape[1]} embedded. Build the index again."
    )
