"""Runs signatures that embed texts with a cache in front: only what it lacks reaches the model.

Two kinds of signature are known by what they take and give:

    a query tower   {query: string [n]} -> {embedding: float32 [n, d]}
    a text search   {query: string [n], k: int32 []}, where the same model also has `embed`, a
                    query tower, and `recommend`, which ranks for embeddings [n, m, d] and
                    weights [n, m]: a search is the recommendation for one embedding
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from serving.models import LoadedModel
from serving.query_cache import QueryCache, query_key

Arrays = dict[str, np.ndarray]
EMBED, RECOMMEND = "embed", "recommend"
_TOWER = {"query": (tf.string, 1)}, {"embedding": (tf.float32, 2)}
_SEARCH = {"query": (tf.string, 1), "k": (tf.int32, 0)}
_RECOMMEND = {"embedding": (tf.float32, 3), "weight": (tf.float32, 2), "k": (tf.int32, 0)}


class CachedRun:
    """Runs models; safe for many threads.

    Args:
        cache: of embeddings, for all models.
    """

    def __init__(self, cache: QueryCache) -> None:
        self.cache = cache

    def __call__(
        self, model: LoadedModel, signature: str, inputs: Mapping[str, np.ndarray]
    ) -> Arrays:
        """As `LoadedModel.run`."""
        texts = inputs.get("query")
        if texts is None or not texts.size:
            return model.run(signature, inputs)
        if is_tower(model.signature_defs[signature]):
            return {"embedding": self._embed(model, signature, texts)}
        if is_search(model, signature):
            embedding = self._embed(model, EMBED, texts)[:, np.newaxis]  # [n, 1, d]
            weight = np.ones(embedding.shape[:2], np.float32)
            return model.run(
                RECOMMEND, {"embedding": embedding, "weight": weight, "k": inputs["k"]}
            )
        return model.run(signature, inputs)

    def _embed(self, model: LoadedModel, signature: str, texts: np.ndarray) -> np.ndarray:
        """float32 `[n, d]`; each distinct text that the cache lacks is embedded once."""
        keys = [query_key(model.identity, text) for text in texts]
        places = {key: place for place, key in enumerate(keys)}
        found = self.cache.get_many(list(places))
        missing = {key: place for key, place in places.items() if key not in found}
        if missing:
            new = model.run(signature, {"query": texts[list(missing.values())]})["embedding"]
            vectors = dict(zip(missing, new, strict=True))
            self.cache.put_many(vectors)
            found.update(vectors)
        return np.stack([found[key] for key in keys])


def is_tower(signature: meta_graph_pb2.SignatureDef) -> bool:
    """Whether a signature embeds texts and does nothing else."""
    inputs, outputs = _TOWER
    return _shape_of(signature.inputs) == inputs and _shape_of(signature.outputs) == outputs


def is_search(model: LoadedModel, signature: str) -> bool:
    """Whether a signature is a text search that `embed` and `recommend` can do in two steps."""
    signatures = model.signature_defs
    return (
        _shape_of(signatures[signature].inputs) == _SEARCH
        and EMBED in signatures
        and is_tower(signatures[EMBED])
        and RECOMMEND in signatures
        and _shape_of(signatures[RECOMMEND].inputs) == _RECOMMEND
        and _shape_of(signatures[RECOMMEND].outputs) == _shape_of(signatures[signature].outputs)
    )


def _shape_of(tensors: Mapping[str, Any]) -> dict[str, tuple[tf.DType, int | None]]:
    """dtype and number of axes by name."""
    return {
        name: (tf.dtypes.as_dtype(info.dtype), tf.TensorShape(info.tensor_shape).rank)
        for name, info in tensors.items()
    }
