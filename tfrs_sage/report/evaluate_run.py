"""Evaluates a run: its pairs of one split, ranked among all candidates by its exported towers."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_sage.artefacts import read_manifest, write_json
from tfrs_sage.errors import InputError
from tfrs_sage.evaluation.baselines import popularity_baseline, random_baseline
from tfrs_sage.evaluation.judgments import evaluate_judgments
from tfrs_sage.evaluation.pairs import pool_pairs, rows_of
from tfrs_sage.evaluation.retrieval_metrics import evaluate_task
from tfrs_sage.export.savedmodel import LoadedQueryTower, latest_version
from tfrs_sage.index.embeddings import read_embeddings
from tfrs_sage.schema.features import CANDIDATE_PREFIX, ID, QUERY_PREFIX, SPLITS, Task
from tfrs_sage.schema.reading import iter_batches, table_files
from tfrs_sage.training.input_pipeline import example_files

logger = logging.getLogger(__name__)
QUERY_BATCH = 256
Embedded = tuple[np.ndarray, np.ndarray]


def read_pairs(run_dir: Path, task: str, split: str) -> tuple[list[str], list[str]]:
    """Query ids and candidate ids of a task's pairs in one split."""
    folder = run_dir / "examples" / split / Path(task).parent
    names = {
        side: tf.io.FixedLenFeature([], tf.string)
        for side in (QUERY_PREFIX + ID, CANDIDATE_PREFIX + ID)
    }
    queries: list[str] = []
    candidates: list[str] = []
    files = example_files(folder, Path(task).name)
    for batch in tf.data.TFRecordDataset(files).batch(4096):
        parsed = tf.io.parse_example(batch, names)
        queries += [value.decode() for value in parsed[QUERY_PREFIX + ID].numpy()]
        candidates += [value.decode() for value in parsed[CANDIDATE_PREFIX + ID].numpy()]
    return queries, candidates


class Embeddings:
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


def evaluate_pairs(
    embeddings: Embeddings,
    tasks: Sequence[Task],
    pairs: Sequence[tuple[list[str], list[str]]],
    train: Sequence[list[str]],
) -> dict[str, Any]:
    """Figures of one task, or of several with the same kinds of query and candidate pooled."""
    first = tasks[0]
    all_candidates = [candidate for _, candidates in pairs for candidate in candidates]
    ids, vectors = embeddings.candidates(first, all_candidates)
    id_list = list(ids)
    distinct = sorted({query for queries, _ in pairs for query in queries})
    rows = [
        (rows_of(queries, distinct, "query"), rows_of(candidates, id_list))
        for queries, candidates in pairs
    ]
    query_rows, candidate_rows = pool_pairs(rows)
    figures: dict[str, Any] = evaluate_task(
        embeddings.queries(first, distinct), vectors, query_rows, candidate_rows
    )
    known = set(id_list)
    trained = rows_of([one for part in train for one in part if one in known], id_list)
    for name, baseline in (
        ("random", random_baseline(query_rows, len(id_list))),
        ("popular", popularity_baseline(trained, query_rows, candidate_rows, len(id_list))),
    ):
        figures[name] = {key: baseline[key] for key in ("recall@10", "recall@100", "mrr")}
    return figures


def judgment_figures(embeddings: Embeddings, input: str, split: str) -> dict[str, Any] | None:
    """NDCG@10 within the judged lists; None where the tables have no judgments of the split."""
    if "judgments" not in table_files(input):
        return None
    columns: dict[str, list[Any]] = {"query": [], "product_id": [], "relevance": []}
    for _, _, batch in iter_batches(input, "judgments", 65_536):
        rows = batch.to_pylist()
        for row in rows:
            if row.get("split", split) == split:
                for name, values in columns.items():
                    values.append(row[name])
    if not columns["query"]:
        return None
    ids, vectors = embeddings.entities("product")
    position = {one: row for row, one in enumerate(ids)}
    kept = [i for i, one in enumerate(columns["product_id"]) if one in position]
    texts = [columns["query"][i] for i in kept]
    products = vectors[[position[columns["product_id"][i]] for i in kept]]
    scores = np.einsum("nd,nd->n", embeddings.texts(texts), products)
    owner = np.unique(texts, return_inverse=True)[1]
    relevance = [columns["relevance"][i] for i in kept]
    figures: dict[str, Any] = evaluate_judgments(owner, relevance, scores)
    return {**figures, "num_left_out": len(columns["query"]) - len(kept)}


def evaluate_run(
    run_dir: Path,
    root: Path,
    split: str = "test",
    groups: Mapping[str, Sequence[str]] | None = None,
    input: str | None = None,
) -> dict[str, Any]:
    """The figures of every task of the split; written to `metrics/evaluate-<split>.json`.

    Args:
        run_dir: a run whose towers are exported and whose catalogue is embedded.
        root: the folder of its exported models.
        split: `train`, `validation` or `test`.
        groups: tasks to pool under a name of their own.
        input: the tables, for judgments; None to leave them out.

    Returns:
        `tasks`, `groups` and `judgments` as in the contract; beside each task's figures stand
        those of a random order and of the most popular candidates.

    Raises:
        InputError: unknown split, or a group of unknown or unlike tasks.
    """
    if split not in SPLITS:
        raise InputError(f"--split must be one of {', '.join(SPLITS)}. Received: {split!r}.")
    counts = read_manifest(run_dir / "examples")["tasks"]
    entities = {path.name for path in (run_dir / "embeddings").glob("*") if path.is_dir()}
    names = []
    for name in sorted(name for name in counts if counts[name].get(split, 0)):
        needed = {Task.parse(name).query_entity, Task.parse(name).candidate_type} - {"query"}
        if needed <= entities:
            names.append(name)
        else:
            logger.warning("%s is left out: no embeddings of %s", name, sorted(needed - entities))
    embeddings = Embeddings(run_dir, root)
    pairs = {name: read_pairs(run_dir, name, split) for name in names}
    train = {
        name: read_pairs(run_dir, name, "train")[1] if counts[name].get("train") else []
        for name in names
    }
    result: dict[str, Any] = {"split": split, "tasks": {}}
    for name in names:
        logger.info("evaluating %s: %d pairs", name, len(pairs[name][0]))
        result["tasks"][name] = evaluate_pairs(
            embeddings, [Task.parse(name)], [pairs[name]], [train[name]]
        )
    for group, members in (groups or {}).items():
        check_group(group, members, names)
        parsed = [Task.parse(name) for name in members]
        result.setdefault("groups", {})[group] = evaluate_pairs(
            embeddings, parsed, [pairs[name] for name in members], [train[name] for name in members]
        )
    if input is not None and (figures := judgment_figures(embeddings, input, split)) is not None:
        result["judgments"] = figures
    write_json(run_dir / "metrics" / f"evaluate-{split}.json", result)
    return result


def check_group(group: str, members: Sequence[str], names: Sequence[str]) -> None:
    """Refuses a group that names an unknown task or mixes kinds of queries or candidates."""
    if unknown := [name for name in members if name not in names]:
        raise InputError(
            f"--group {group} must name tasks of the split. Received: {', '.join(unknown)}; "
            f"there are {', '.join(names) or 'none'}."
        )
    kinds = {(Task.parse(name).query_type, Task.parse(name).candidate_type) for name in members}
    if len(kinds) != 1:
        raise InputError(
            f"--group {group} must join tasks of one kind of query and one kind of candidate. "
            f"Received: {', '.join(members)}."
        )
