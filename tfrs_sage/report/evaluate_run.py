"""Evaluates a run: its pairs of one split, ranked among all candidates by its exported towers."""

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrs_sage.artefacts import read_manifest, write_json
from tfrs_sage.errors import InputError
from tfrs_sage.evaluation.baselines import popularity_baseline, random_baseline
from tfrs_sage.evaluation.pairs import pool_pairs, rows_of
from tfrs_sage.evaluation.retrieval_metrics import evaluate_task
from tfrs_sage.export.savedmodel import versions
from tfrs_sage.index.prefix import check_prefix, cut_to_prefix
from tfrs_sage.report.judged import judgment_figures
from tfrs_sage.report.run_vectors import RunVectors
from tfrs_sage.schema.features import CANDIDATE_PREFIX, ID, QUERY_PREFIX, SPLITS, Task
from tfrs_sage.training.config import read_config
from tfrs_sage.training.input_pipeline import example_files

logger = logging.getLogger(__name__)
COMPARED = ("recall@10", "recall@100", "mrr")  # of baselines and prefixes; the rest is the same


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


def evaluate_pairs(
    run: RunVectors,
    tasks: Sequence[Task],
    pairs: Sequence[tuple[list[str], list[str]]],
    train: Sequence[list[str]],
    prefixes: Sequence[int] = (),
) -> dict[str, Any]:
    """Figures of one task, or of several with the same kinds of query and candidate pooled.

    Args:
        run: the vectors of the run.
        tasks: one task or more.
        pairs: query ids and candidate ids of each task's pairs.
        train: candidate ids of each task's training pairs, for the most popular.
        prefixes: widths of the Matryoshka prefixes that are evaluated too.

    Returns:
        As `evaluate_task`; with `random`, `popular` and, by width as text, `prefixes`.
    """
    first = tasks[0]
    all_candidates = [candidate for _, candidates in pairs for candidate in candidates]
    ids, vectors = run.candidates(first, all_candidates)
    id_list = list(ids)
    distinct = sorted({query for queries, _ in pairs for query in queries})
    rows = [
        (rows_of(queries, distinct, "query"), rows_of(candidates, id_list))
        for queries, candidates in pairs
    ]
    pooled = pool_pairs(rows)
    queries = run.queries(first, distinct)
    figures: dict[str, Any] = evaluate_task(queries, vectors, *pooled)
    known = set(id_list)
    trained = rows_of([one for part in train for one in part if one in known], id_list)
    others = {
        "random": random_baseline(pooled[0], len(id_list)),
        "popular": popularity_baseline(trained, *pooled, len(id_list)),
    }
    figures |= {name: {key: one[key] for key in COMPARED} for name, one in others.items()}
    for prefix in prefixes:
        cut = evaluate_task(cut_to_prefix(queries, prefix), cut_to_prefix(vectors, prefix), *pooled)
        figures.setdefault("prefixes", {})[str(prefix)] = {key: cut[key] for key in COMPARED}
    return figures


def evaluated_tasks(
    run_dir: Path, root: Path, split: str, wanted: Collection[str] | None
) -> list[str]:
    """The tasks with pairs in the split whose two sides the run embeds; the others are warned of.

    Args:
        run_dir: the run.
        root: the folder of its exported models.
        split: one of `SPLITS`.
        wanted: no others than these; None for all.
    """
    counts = read_manifest(run_dir / "examples")["tasks"]
    embedded = {path.name for path in (run_dir / "embeddings").glob("*") if path.is_dir()}
    # Texts are embedded as they are met, which takes the tower and no file.
    embedded = embedded | {"query"} if versions(root / "query_tower") else embedded - {"query"}
    names = []
    for name in sorted(name for name in counts if counts[name].get(split, 0)):
        if wanted is not None and name not in wanted:
            continue
        needed = {Task.parse(name).query_entity, Task.parse(name).candidate_type}
        if needed <= embedded:
            names.append(name)
        else:
            logger.warning("%s is left out: no embeddings of %s", name, sorted(needed - embedded))
    return names


def evaluate_run(
    run_dir: Path,
    root: Path,
    split: str = "test",
    groups: Mapping[str, Sequence[str]] | None = None,
    input: str | None = None,
    prefixes: Sequence[int] | None = None,
    tasks: Collection[str] | None = None,
) -> dict[str, Any]:
    """The figures of every task of the split; written to `metrics/evaluate-<split>.json`.

    Args:
        run_dir: a run whose towers are exported and whose catalogue is embedded.
        root: the folder of its exported models.
        split: `train`, `validation` or `test`.
        groups: tasks to pool under a name of their own.
        input: the tables, for judgments; None to leave them out.
        prefixes: widths of Matryoshka prefixes; None for those that the run was trained with.
        tasks: no others than these; None for all that the run embeds.

    Returns:
        `tasks`, `groups` and `judgments` as in the contract; beside each task's figures stand
        those of a random order, of the most popular candidates and of each prefix.

    Raises:
        InputError: unknown split, a prefix that is too wide, or a group of unknown or unlike tasks.
    """
    if split not in SPLITS:
        raise InputError(f"--split must be one of {', '.join(SPLITS)}. Received: {split!r}.")
    config = read_config(run_dir / "config.yaml")
    widths = sorted(set(config.loss.prefix_weights or ()) if prefixes is None else set(prefixes))
    for width in widths:
        check_prefix(width, config.embedding_dim)
    counts = read_manifest(run_dir / "examples")["tasks"]
    names = evaluated_tasks(run_dir, root, split, tasks)
    for group, members in (groups or {}).items():
        check_group(group, members, names)
    run = RunVectors(run_dir, root)
    pairs = {name: read_pairs(run_dir, name, split) for name in names}
    train = {
        name: read_pairs(run_dir, name, "train")[1] if counts[name].get("train") else []
        for name in names
    }

    def figures_of(what: str, members: Sequence[str]) -> dict[str, Any]:
        logger.info("evaluating %s: %d pairs", what, sum(len(pairs[one][0]) for one in members))
        parsed = [Task.parse(one) for one in members]
        return evaluate_pairs(
            run, parsed, [pairs[one] for one in members], [train[one] for one in members], widths
        )

    result: dict[str, Any] = {"split": split}
    result["tasks"] = {name: figures_of(name, [name]) for name in names}
    if groups:
        result["groups"] = {name: figures_of(name, members) for name, members in groups.items()}
    if input is not None and (figures := judgment_figures(run, input, split)) is not None:
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
