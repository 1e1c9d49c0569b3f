"""Runs signatures that answer texts with a cache in front: only what it lacks reaches the model.

Two kinds of signature are known by what they take and give:

    a query tower   {query: string [n]}                 -> a row of each output for each text
    a text search   {query: string [n], k: int32 []}    -> the same
"""

from collections.abc import Mapping

import numpy as np

from serving.batch_rows import Arrays, Rows
from serving.models import LoadedModel, Run
from serving.query_cache import QueryCache, query_key

_CACHED = (Rows(("query",), ()), Rows(("query",), ("k",)))


class CachedRun:
    """Runs models; a `Run`, safe for many threads.

    Args:
        cache: of answers, for all models.
        run: what answers the texts that the cache lacks.
    """

    def __init__(self, cache: QueryCache, run: Run = LoadedModel.run) -> None:
        self.cache, self._run = cache, run

    def __call__(
        self, model: LoadedModel, signature: str, inputs: Mapping[str, np.ndarray]
    ) -> Arrays:
        """As `LoadedModel.run`; each distinct text that the cache lacks is answered once."""
        if model.rows(signature) not in _CACHED or not inputs["query"].size:
            return self._run(model, signature, inputs)
        texts, k = inputs["query"], inputs.get("k")
        question = signature.encode() + b"\0" + (b"" if k is None else k.tobytes())
        keys = [query_key(model.identity, text, question) for text in texts]
        places = {key: place for place, key in enumerate(keys)}
        found = self.cache.get_many(list(places))
        missing = {key: place for key, place in places.items() if key not in found}
        if missing:
            asked = {**inputs, "query": texts[list(missing.values())]}
            outputs = self._run(model, signature, asked)
            new = dict(zip(missing, _rows(outputs), strict=True))
            self.cache.put_many(new)
            found.update(new)
        first = found[keys[0]]
        return {name: np.stack([found[key][name] for key in keys]) for name in first}


def _rows(outputs: Arrays) -> list[Arrays]:
    """The outputs of each text."""
    count = len(next(iter(outputs.values())))
    return [{name: values[row, ...] for name, values in outputs.items()} for row in range(count)]
