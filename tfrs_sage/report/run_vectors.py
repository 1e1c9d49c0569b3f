"""The vectors that a run gives to queries and candidates, by their ids."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfrs_sage.evaluation.pairs import rows_of
from tfrs_sage.export.savedmodel import LoadedQueryTower, latest_version
from tfrs_sage.index.embeddings import read_embeddings
from tfrs_sage.schema.features import Task

QUERY_BATCH = 256
Embedded = tuple[np.ndarray, np.ndarray]


class RunVectors:
    """Vectors of a run by entity and id: entities from their files, texts from the query tower."""

    def __init__(self, run_dir: Path, root: Path) -> None:
        self.run_dir, self.root = run_dir, root
        self._files: dict[str, Embedded] = {}
        self._texts: dict[str, np.ndarray] = {}
        self._tower: LoadedQueryTower | None = None

    def entities(self, entity: str) -> Embedded:
        """Ids `[n]` and vectors `[n, d]` of all products or pins."""
        if entity not in self._files:
            self._files[entity] = read_embeddings(self.run_dir / "embeddings" / entity)
        return self._files[entity]

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """float32 `[n, d]`, each distinct text embedded once, in batches of like length."""
        new = sorted({text for text in texts if text not in self._texts}, key=len)
        if new and self._tower is None:
            self._tower = LoadedQueryTower(latest_version(self.root, "query_tower"))
        for start in range(0, len(new), QUERY_BATCH):
            batch = new[start : start + QUERY_BATCH]
            assert self._tower is not None
            vectors = self._tower(tf.constant(batch)).numpy()
            self._texts.update(zip(batch, vectors, strict=True))
        return np.stack([self._texts[text] for text in texts])

    def candidates(self, task: Task, pairs: Sequence[str]) -> Embedded:
        """All candidates of a task: a catalogue, or every text of training and of these pairs."""
        if task.candidate_type != "query":
            return self.entities(task.candidate_type)
        ids, vectors = self.entities("query")
        known = set(ids)
        new = sorted(set(pairs) - known)
        if not new:
            return ids, vectors
        return np.concatenate([ids, np.array(new, object)]), np.concatenate(
            [vectors, self.texts(new)]
        )

    def queries(self, task: Task, ids: Sequence[str]) -> np.ndarray:
        """float32 `[n, d]` of a task's distinct queries."""
        if task.query_type == "search":
            return self.texts(ids)
        all_ids, vectors = self.entities(task.query_entity)
        return vectors[rows_of(ids, list(all_ids), task.query_entity)]
