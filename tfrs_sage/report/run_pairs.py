"""The training pairs of a run, of all its tasks: what was met, how often, with what."""

from collections import Counter
from pathlib import Path

from tfrs_sage.artefacts import read_manifest
from tfrs_sage.schema.features import Task
from tfrs_sage.training.input_pipeline import read_pairs


class TrainingPairs:
    """Training pairs by task, each read when it is first needed.

    Args:
        run_dir: holds `examples/`.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        counts = read_manifest(run_dir / "examples")["tasks"]
        self._tasks = [Task.parse(name) for name in sorted(counts) if counts[name].get("train")]
        self._pairs: dict[Task, tuple[list[str], list[str]]] = {}

    def of(self, task: Task) -> tuple[list[str], list[str]]:
        """Query ids and candidate ids; empty for a task without training pairs."""
        if task not in self._tasks:
            return [], []
        if task not in self._pairs:
            self._pairs[task] = read_pairs(self._run_dir, str(task), "train")
        return self._pairs[task]

    def to(self, candidate_type: str) -> list[tuple[str, str, str]]:
        """(query type, query, candidate) of the pairs of all tasks with such candidates."""
        return [
            (task.query_type, query, candidate)
            for task in self._tasks
            if task.candidate_type == candidate_type
            for query, candidate in zip(*self.of(task), strict=True)
        ]

    def candidate_counts(self, candidate_type: str) -> Counter[str]:
        """How often each candidate was met, by any kind of query."""
        return Counter(candidate for _, _, candidate in self.to(candidate_type))

    def query_counts(self, query_type: str) -> Counter[str]:
        """How often each query was met, with any kind of candidate."""
        return Counter(
            query
            for task in self._tasks
            if task.query_type == query_type
            for query in self.of(task)[0]
        )
