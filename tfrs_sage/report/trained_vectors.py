"""The ranks of a trained run straight from its checkpoint, without exports and their checks."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_sage.artefacts import read_manifest
from tfrs_sage.errors import InputError
from tfrs_sage.report.ranks import TaskRanks, write_ranks
from tfrs_sage.report.run_vectors import RECORD_BATCH, Embedded, RunVectors
from tfrs_sage.report.task_figures import Beside, evaluate_pairs
from tfrs_sage.schema.features import ID, Task
from tfrs_sage.towers.features import parse_records
from tfrs_sage.training.assemble import assemble
from tfrs_sage.training.checkpoints import latest_checkpoint, restore_checkpoint
from tfrs_sage.training.config import RunConfig
from tfrs_sage.training.input_pipeline import example_files, read_pairs
from tfrs_sage.types import Tensor


class TrainedVectors(RunVectors):
    """`RunVectors` of the towers of a checkpoint, in the process that reads it.

    Args:
        run_dir: a trained run.
        config: its configuration.

    Raises:
        InputError: the run has no checkpoint.
    """

    def __init__(self, run_dir: Path, config: RunConfig) -> None:
        super().__init__(run_dir, run_dir)
        newest = latest_checkpoint(run_dir / "checkpoints")
        if newest is None:
            raise InputError(f"{run_dir} must hold a checkpoint. Found: none. Run train first.")
        self._assembly = assemble(run_dir, config)
        restore_checkpoint(newest, self._assembly.model)
        if "query" in self._assembly.features:
            self._tower: Any = tf.function(
                lambda texts: self._embed("query", {"text": texts}),
                input_signature=[tf.TensorSpec([None], tf.string)],
            )

    def entities(self, entity: str) -> Embedded:
        """Ids `[n]`, sorted, and vectors `[n, d]` of all products, pins or texts of training."""
        if entity not in self._files:
            spec = self._assembly.specs[entity]

            @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
            def embed(records: Tensor) -> tuple[Tensor, Tensor]:
                raw = parse_records(records, spec)
                return raw[ID], self._embed(entity, raw)

            ids: list[str] = []
            parts: list[np.ndarray] = []
            files = example_files(self.run_dir / "catalogue", entity)
            for batch in tf.data.TFRecordDataset(files).batch(RECORD_BATCH):
                names, vectors = embed(batch)
                ids += [one.decode() for one in names.numpy()]
                parts.append(vectors.numpy())
            names = np.array(ids, object)
            order = np.argsort(names, kind="stable")
            self._files[entity] = names[order], np.concatenate(parts)[order]
        return self._files[entity]

    def _embed(self, entity: str, raw: Mapping[str, Tensor]) -> Tensor:
        features = self._assembly.features[entity](raw)
        return tf.cast(self._assembly.model.towers[entity](features, training=False), tf.float32)


def rank_trained(
    run_dir: Path, config: RunConfig, split: str, tasks: Collection[str]
) -> dict[str, TaskRanks]:
    """Ranks of a split's pairs among all candidates; kept as `evaluate_run` keeps them.

    Args:
        run_dir: a trained run.
        config: its configuration.
        split: `train`, `validation` or `test`.
        tasks: those that it was trained on; the ones without pairs in the split are left out.
    """
    counts = read_manifest(run_dir / "examples")["tasks"]
    run = TrainedVectors(run_dir, config)
    ranks = {}
    for name in sorted(name for name in tasks if counts[name].get(split)):
        pairs, train = (read_pairs(run_dir, name, one) for one in (split, "train"))
        ranks[name] = evaluate_pairs(run, [Task.parse(name)], [pairs], [train[1]], Beside())[1]
    write_ranks(run_dir, split, ranks)
    return ranks
