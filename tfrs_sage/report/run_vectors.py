"""The vectors of queries and candidates by their ids: a run's own, and columns of its tables."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfrs_sage.artefacts import read_manifest
from tfrs_sage.evaluation.pairs import rows_of
from tfrs_sage.export.savedmodel import LoadedQueryTower, latest_version, run_source
from tfrs_sage.index.embeddings import read_embeddings
from tfrs_sage.schema.features import ID, EntitySpec, Task
from tfrs_sage.towers.features import fixed_vectors, parse_records
from tfrs_sage.training.input_pipeline import example_files

QUERY_BATCH = 256
RECORD_BATCH = 4096
Embedded = tuple[np.ndarray, np.ndarray]


class RunVectors:
    """Vectors of a run by entity and id: entities from their files, texts from the query tower."""

    def __init__(self, run_dir: Path, root: Path) -> None:
        self.run_dir, self.root = run_dir, root
        self._files: dict[str, Embedded] = {}
        self._fixed: dict[tuple[str, str], Embedded] = {}
        self._texts: dict[str, np.ndarray] = {}
        self._tower: LoadedQueryTower | None = None

    def entities(self, entity: str) -> Embedded:
        """Ids `[n]` and vectors `[n, d]` of all products or pins."""
        if entity not in self._files:
            self._files[entity] = read_embeddings(self.run_dir / "embeddings" / entity)
        return self._files[entity]

    def fixed(self, entity: str, column: str) -> Embedded:
        """Ids `[n]` and L2-normalised vectors `[n, d]` of the rows that have the column's vector.

        As the records hold them, which is in float16.
        """
        if (entity, column) not in self._fixed:
            described = read_manifest(self.run_dir / "catalogue")["entities"][entity]
            spec = EntitySpec(entity, (), 0, {column: described["vectors"][column]})
            ids: list[str] = []
            parts: list[np.ndarray] = []
            files = example_files(self.run_dir / "catalogue", entity)
            for batch in tf.data.TFRecordDataset(files).batch(RECORD_BATCH):
                raw = parse_records(batch, spec)
                found = fixed_vectors(raw, [column])[column]
                present = found["present"].numpy()
                ids += [one.decode() for one in raw[ID].numpy()[present]]
                parts.append(found["vectors"].numpy()[present])
            self._fixed[entity, column] = np.array(ids, object), np.concatenate(parts)
        return self._fixed[entity, column]

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """float32 `[n, d]`, each distinct text embedded once, in batches of like length."""
        new = sorted({text for text in texts if text not in self._texts}, key=len)
        if new and self._tower is None:
            own = run_source(self.run_dir)
            self._tower = LoadedQueryTower(latest_version(self.root, "query_tower", own))
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
