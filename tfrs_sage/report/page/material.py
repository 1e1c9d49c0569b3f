"""What the sections of a report are made from, each read when the first of them asks."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tfrs_sage.artefacts import MANIFEST, read_manifest
from tfrs_sage.export.savedmodel import versions
from tfrs_sage.report.catalogue_fields import RunTexts
from tfrs_sage.report.page.pictures import Pictures
from tfrs_sage.report.ranks import TaskRanks, ranks_path, read_ranks
from tfrs_sage.report.run_pairs import TrainingPairs
from tfrs_sage.report.run_vectors import RunVectors
from tfrs_sage.schema.features import EntitySpec
from tfrs_sage.training.config import RunConfig, read_config


@dataclass(frozen=True)
class Absent:
    """A section that a run has nothing for.

    Attributes:
        reason: half a sentence.
        command: that makes it; empty where the data has no such thing.
    """

    reason: str
    command: str = ""


@dataclass
class Material:
    """A run as its report sees it.

    Attributes:
        path: the run folder, with `config.yaml` and preprocessed tables.
        root: folder of its exported models.
        input: folder of its tables, for pictures; None for none.
        split: the split that is reported.
        seed: of whatever is drawn.
    """

    path: Path
    root: Path
    input: str | None
    split: str = "test"
    seed: int = 0

    @cached_property
    def config(self) -> RunConfig:
        return read_config(self.path / "config.yaml")

    @cached_property
    def counts(self) -> dict[str, dict[str, int]]:
        """Pairs of each task by split."""
        counts: dict[str, dict[str, int]] = read_manifest(self.path / "examples")["tasks"]
        return counts

    @cached_property
    def specs(self) -> dict[str, EntitySpec]:
        """What the catalogue holds of each product, pin and query."""
        found = read_manifest(self.path / "catalogue")["entities"]
        return {entity: EntitySpec.from_json(one) for entity, one in found.items()}

    @cached_property
    def texts(self) -> RunTexts:
        return RunTexts(self.path)

    @cached_property
    def train(self) -> TrainingPairs:
        return TrainingPairs(self.path)

    @cached_property
    def vectors(self) -> RunVectors:
        return RunVectors(self.path, self.root)

    @cached_property
    def pictures(self) -> Pictures:
        return Pictures(self.input)

    @cached_property
    def evaluation(self) -> dict[str, Any]:
        """What `evaluate` left of the split; empty where it did not run."""
        return self.metrics(f"evaluate-{self.split}")

    @cached_property
    def ranks(self) -> dict[str, TaskRanks]:
        """Ranks of the split's pairs by task; empty where `evaluate` did not run."""
        there = ranks_path(self.path, self.split).is_file()
        return read_ranks(self.path, self.split) if there else {}

    def metrics(self, name: str) -> dict[str, Any]:
        """`metrics/<name>.json`; empty where there is none."""
        path = self.path / "metrics" / f"{name}.json"
        if not path.is_file():
            return {}
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def is_embedded(self, entity: str) -> bool:
        """Whether the run's products, pins or queries are embedded."""
        return (self.path / "embeddings" / entity / MANIFEST).is_file()

    def has_tower(self, name: str) -> bool:
        """Whether a model is exported."""
        return bool(versions(self.root / name))

    def command(self, verb: str, *options: str) -> str:
        """A command line for this run."""
        return " ".join(["tfrs-sage", verb, "--dir", str(self.path), *options])
