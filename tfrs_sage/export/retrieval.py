"""The `retrieval` SavedModel: query tower and exact index in one graph of stock ops."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_sage.errors import InputError
from tfrs_sage.export.roundtrip import check_roundtrip
from tfrs_sage.export.savedmodel import as_query_tower, save_version
from tfrs_sage.index.checks import as_ids, as_vectors
from tfrs_sage.index.prefix import LEAST_SQUARE, cut_to_prefix
from tfrs_sage.types import Tensor

# Scores held at once while candidates are scanned (64 MiB of float32), and the fewest
# candidates a step, so that very large batches still advance.
SCORE_BUDGET = 2**24
MIN_CHUNK = 1024
_NO_ROW = -1


def exact_top_k(
    score: Callable[[Tensor], Tensor],
    candidates: Tensor,
    scores_per_candidate: Tensor,
    excluded: Tensor,
    k: Tensor,
) -> tuple[Tensor, Tensor]:
    """The `k` best rows of `candidates`, scanned in chunks so that memory stays bounded.

    Args:
        score: `[chunk, d]` candidates -> float32 `[n, chunk]` scores.
        candidates: variable, float32 `[N, d]`.
        scores_per_candidate: int32 `[]`, numbers that `score` holds for each candidate.
        excluded: int32 `[n]`, the row that may not be found for each query; -1 for none.
        k: int32 `[]`, at most N less the excluded ones.

    Returns:
        rows: int32 `[n, k]`, best first, equal scores in row order.
        scores: float32 `[n, k]`.
    """
    count = tf.shape(candidates)[0]
    chunk = tf.maximum(MIN_CHUNK, SCORE_BUDGET // tf.maximum(1, scores_per_candidate))
    num_queries = tf.shape(excluded)[0]

    def step(start: Tensor, best_scores: Tensor, best_rows: Tensor) -> tuple[Tensor, ...]:
        stop = tf.minimum(start + chunk, count)
        rows = tf.range(start, stop)
        scores = score(candidates[start:stop])  # [n, chunk]
        scores = tf.where(rows[tf.newaxis] == excluded[:, tf.newaxis], -np.inf, scores)
        top = tf.math.top_k(scores, tf.minimum(k, stop - start))
        # The best so far come first: among equals top_k takes the first, which is the lower row.
        scores = tf.concat([best_scores, top.values], axis=1)
        rows = tf.concat([best_rows, top.indices + start], axis=1)
        top = tf.math.top_k(scores, tf.minimum(k, tf.shape(scores)[1]))
        return stop, top.values, tf.gather(rows, top.indices, batch_dims=1)

    _, scores, rows = tf.while_loop(
        lambda start, *_: start < count,
        step,
        (tf.constant(0), tf.zeros([num_queries, 0]), tf.zeros([num_queries, 0], tf.int32)),
        shape_invariants=(
            tf.TensorShape([]),
            tf.TensorShape([None, None]),
            tf.TensorShape([None, None]),
        ),
        parallel_iterations=1,  # several chunks in flight would hold several score blocks
    )
    return rows, scores


def checked_k(k: Tensor, most: Tensor) -> Tensor:
    """`k` clipped to the candidates there are; k < 1 is INVALID_ARGUMENT."""
    positive = tf.debugging.Assert(k > 0, ["`k` must be a positive int. Received:", k])
    with tf.control_dependencies([positive]):
        return tf.minimum(k, most)


def weighted(embedding: Tensor, weight: Tensor) -> Tensor:
    """float32 `[n, m, d]` vectors times their weights; those of weight 0 become 0."""
    return embedding * weight[:, :, tf.newaxis]


class Retrieval(tf.Module):
    """Answers in product ids, from text, from a product, or from a user's vectors.

    Candidates live in variables, so that the graph stays far below protobuf's 2 GB.

    Args:
        query_tower: callable, string `[n]` -> float32 `[n, d]`; a tf.Module, so that what
            it uses is saved.
        vectors: float32 `[N, d]` candidate embeddings.
        ids: N product ids.
        ids_file: text file with the same ids, one a line; becomes an asset.
        prefix: how many components are searched; None for all. Whatever comes in is of the
            towers' width d and is cut inside, so that clients are the same with any prefix.
    """

    def __init__(
        self,
        query_tower: Any,
        vectors: np.ndarray,
        ids: Sequence[str],
        ids_file: Path,
        prefix: int | None = None,
    ) -> None:
        super().__init__(name="retrieval")
        self.query_tower = query_tower
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
            default_value=_NO_ROW,
        )
        self.embedding_dim = int(vectors.shape[1])
        searched = cut_to_prefix(vectors, prefix)
        self.dimension = int(searched.shape[1])
        self._keep_candidates(searched)

    def _keep_candidates(self, vectors: np.ndarray) -> None:
        self.candidates = tf.Variable(vectors, trainable=False, name="candidates")

    # === Signatures ===

    def search(self, query: Tensor, k: Tensor) -> dict[str, Tensor]:
        """Products for texts: string `[n]` -> ids and scores `[n, k]`."""
        queries = self._cut(self.query_tower(query))  # [n, dimension]
        none = tf.fill([tf.shape(queries)[0]], _NO_ROW)
        return self._answer(*self._nearest(queries, none, checked_k(k, self._count())))

    def similar(self, product_id: Tensor, k: Tensor) -> dict[str, Tensor]:
        """Products near products, themselves left out; an unknown id is INVALID_ARGUMENT."""
        rows = tf.cast(self.row_of_id.lookup(product_id), tf.int32)  # [n]
        unknown = tf.boolean_mask(product_id, rows == _NO_ROW)
        known = tf.debugging.Assert(
            tf.size(unknown) == 0, ["unknown product_id:", unknown], summarize=5
        )
        with tf.control_dependencies([known]):
            queries = tf.gather(self.candidates, rows)  # [n, dimension]
        return self._answer(*self._nearest(queries, rows, checked_k(k, self._count() - 1)))

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
            scaled = weighted(self._cut(embedding), weight)  # [n, m, dimension]
        padding = (weight == 0) & tf.reduce_any(weight != 0, axis=1, keepdims=True)
        return self._answer(*self._best_of(scaled, padding, checked_k(k, self._count())))

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

    # === Search ===

    def _cut(self, embeddings: Tensor) -> Tensor:
        """float32 `[..., d]` -> `[..., dimension]`: as `cut_to_prefix`, in the graph."""
        if self.dimension == self.embedding_dim:
            return embeddings
        return tf.math.l2_normalize(embeddings[..., : self.dimension], -1, LEAST_SQUARE)

    def _count(self) -> Tensor:
        return tf.shape(self.product_ids)[0]

    def _nearest(self, queries: Tensor, excluded: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Rows and scores `[n, k]` for `[n, d]` queries."""
        return exact_top_k(
            lambda chunk: tf.matmul(queries, chunk, transpose_b=True),
            self.candidates,
            tf.shape(queries)[0],
            excluded,
            k,
        )

    def _best_of(self, scaled: Tensor, padding: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Rows and scores `[n, k]` by the best of `[n, m, d]` vectors, all at once."""
        shape = tf.shape(scaled)
        flat = tf.reshape(scaled, [-1, self.dimension])  # [n * m, d]

        def score(chunk: Tensor) -> Tensor:
            scores = tf.matmul(flat, chunk, transpose_b=True)
            scores = tf.reshape(scores, [shape[0], shape[1], -1])  # [n, m, chunk]
            return tf.reduce_max(tf.where(padding[:, :, tf.newaxis], -np.inf, scores), axis=1)

        none = tf.fill([shape[0]], _NO_ROW)
        return exact_top_k(score, self.candidates, shape[0] * shape[1], none, k)

    def _answer(self, rows: Tensor, scores: Tensor) -> dict[str, Tensor]:
        return {"product_id": tf.gather(self.product_ids, rows), "score": scores}


Build = Callable[[Any, np.ndarray, Sequence[str], Path, int | None], Retrieval]


@contextlib.contextmanager
def retrieval_module(
    query_tower: Any,
    vectors: Any,
    ids: Sequence[Any],
    build: Build = Retrieval,
    prefix: int | None = None,
) -> Iterator[Retrieval]:
    """A `Retrieval` in memory; the asset file of its ids lives as long as the context.

    Raises:
        InputError: bad vectors, ids or prefix, or a query tower of another width.
    """
    checked = as_vectors(vectors)
    names = [str(i) for i in as_ids(ids, len(checked))]
    tower = as_query_tower(query_tower)
    width = int(tower(tf.constant([""])).shape[-1])
    if width != checked.shape[1]:
        raise InputError(
            "the query tower and the candidates must have one width. Received: "
            f"{width} and {checked.shape[1]}. Embed the candidates with the same run's model."
        )
    with tempfile.TemporaryDirectory() as folder:
        ids_file = Path(folder) / "product_ids.txt"
        ids_file.write_bytes("".join(f"{i}\n" for i in names).encode())
        yield build(tower, checked, names, ids_file, prefix)


def probes(
    module: Retrieval, queries: Sequence[str], vectors: Any, ids: Sequence[Any]
) -> dict[str, dict[str, Any]]:
    """One request a signature, for the check after saving."""
    first = np.asarray(vectors, np.float32)[:2]
    k = np.int32(10)
    return {
        "search": {"query": np.array(list(queries) or [""], dtype=object), "k": k},
        "similar": {"product_id": np.array([str(i) for i in ids[:3]], dtype=object), "k": k},
        "recommend": {
            "embedding": first[np.newaxis],
            "weight": np.ones([1, len(first)], np.float32),
            "k": k,
        },
    }


def export_retrieval(
    query_tower: Any,
    vectors: Any,
    ids: Sequence[Any],
    root: str | Path,
    *,
    name: str = "retrieval",
    prefix: int | None = None,
    manifest: Mapping[str, Any] | None = None,
    probe_queries: Sequence[str] = (),
    check: bool = True,
) -> Path:
    """Exports `<root>/<name>/<next version>` and checks it in a fresh process.

    Args:
        query_tower: tf.Module called with string `[n]`, giving float32 `[n, d]`; or the
            version folder of an exported `query_tower`.
        vectors: float `[N, d]`, the candidates' embeddings.
        ids: N product ids, each once.
        root: folder of the exported models.
        name: the model's name.
        prefix: how many components of the embeddings are searched, each L2-normalised again;
            None for all. The inputs of the signatures keep their width d.
        manifest: more to keep in the manifest (model fingerprint, config...).
        probe_queries: texts that the check searches for.
        check: reload in a fresh process and compare ids and scores.

    Returns:
        The new version's folder.

    Raises:
        InputError: bad vectors, ids or prefix, widths that differ.
        RuntimeError: the reloaded model answers otherwise than the one in memory.
    """
    with retrieval_module(query_tower, vectors, ids, prefix=prefix) as module:
        return save_checked(
            module, vectors, ids, root, name, manifest or {}, probe_queries, (), check
        )


def save_checked(
    module: Retrieval,
    vectors: Any,
    ids: Sequence[Any],
    root: str | Path,
    name: str,
    manifest: Mapping[str, Any],
    probe_queries: Sequence[str],
    namespaces: Sequence[str],
    check: bool,
) -> Path:
    """Saves a retrieval module and compares a fresh process's answers with its own."""
    signatures = module.signatures()
    content = {
        "count": len(ids),
        "embedding_dim": module.embedding_dim,
        "dimension": module.dimension,
        "prefix": module.dimension if module.dimension < module.embedding_dim else None,
        **manifest,
    }
    folder = save_version(module, signatures, root, name, content, namespaces=namespaces)
    if check:
        requests = probes(module, probe_queries, vectors, ids)
        expected = {
            key: {
                output: value.numpy()
                for output, value in signatures[key](
                    **{i: tf.constant(v) for i, v in request.items()}
                ).items()
            }
            for key, request in requests.items()
        }
        imports = tuple(namespace.lower() for namespace in namespaces)
        check_roundtrip(folder, requests, expected, imports=imports)
    return folder
