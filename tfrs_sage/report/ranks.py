"""The ranks of a run's pairs, kept beside its figures: slices and comparisons need no model."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfrs_sage.artefacts import whole_file
from tfrs_sage.errors import InputError

COLUMNS = ("task", "query", "candidate", "rank", "index_size")


@dataclass(frozen=True)
class TaskRanks:
    """Rank of each distinct pair of a task among all candidates.

    Attributes:
        queries: `[p]` ids or texts.
        candidates: `[p]` ids or texts.
        ranks: int64 `[p]`, 1 is the best.
        index_size: number of candidates ranked.
    """

    queries: list[str]
    candidates: list[str]
    ranks: np.ndarray
    index_size: int

    @property
    def pair_query(self) -> np.ndarray:
        """int64 `[p]`, number of each pair's query, in the order of the texts."""
        return np.unique(np.array(self.queries, object), return_inverse=True)[1]


def pooled(tasks: Iterable[TaskRanks]) -> TaskRanks:
    """Several tasks over the same candidates as one: a pair that several share counts once."""
    parts = list(tasks)
    ranks = {
        (query, candidate): rank
        for one in parts
        for query, candidate, rank in zip(one.queries, one.candidates, one.ranks, strict=True)
    }
    pairs = sorted(ranks)
    return TaskRanks(
        [query for query, _ in pairs],
        [candidate for _, candidate in pairs],
        np.array([ranks[pair] for pair in pairs], np.int64),
        parts[0].index_size,
    )


def ranks_path(run_dir: Path, split: str) -> Path:
    """Where `evaluate` leaves the ranks of a split."""
    return run_dir / "metrics" / f"ranks-{split}.parquet"


def write_ranks(run_dir: Path, split: str, tasks: Mapping[str, TaskRanks]) -> None:
    """Writes the ranks of a split."""
    columns: dict[str, list] = {name: [] for name in COLUMNS}
    for name, one in tasks.items():
        columns["task"] += [name] * len(one.queries)
        columns["query"] += one.queries
        columns["candidate"] += one.candidates
        columns["rank"] += one.ranks.tolist()
        columns["index_size"] += [one.index_size] * len(one.queries)
    with whole_file(ranks_path(run_dir, split)) as path:
        pq.write_table(pa.table(columns), path)


def read_ranks(run_dir: Path, split: str) -> dict[str, TaskRanks]:
    """The ranks of a split by task.

    Raises:
        InputError: the run was not evaluated on the split.
    """
    path = ranks_path(run_dir, split)
    if not path.is_file():
        raise InputError(
            f"{run_dir} must have been evaluated on the {split} split. Found: no {path.name}. Run "
            f"`tfrs-sage evaluate --dir {run_dir} --split {split}` first."
        )
    table = pq.read_table(path)
    columns = {name: table.column(name).to_numpy() for name in COLUMNS}
    tasks = {}
    for name in dict.fromkeys(columns["task"]):
        rows = columns["task"] == name
        tasks[str(name)] = TaskRanks(
            columns["query"][rows].tolist(),
            columns["candidate"][rows].tolist(),
            columns["rank"][rows],
            int(columns["index_size"][rows][0]),
        )
    return tasks
