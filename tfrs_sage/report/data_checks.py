"""What may be wrong with a run's data: leakage, duplicates, drift, tasks too small to trust."""

import json
from pathlib import Path
from typing import Any

from tfrs_sage.artefacts import read_manifest
from tfrs_sage.errors import InputError
from tfrs_sage.evaluation.data_checks import (
    data_warnings,
    drift,
    duplicates_across,
    duplicates_within,
    leakage,
    words_of,
)
from tfrs_sage.report.catalogue_fields import RunTexts
from tfrs_sage.report.run_pairs import TrainingPairs
from tfrs_sage.schema.features import Task
from tfrs_sage.training.input_pipeline import read_pairs

MAIN_FIGURE = "recall@10"


def check_data(run_dir: Path, split: str = "test") -> dict[str, Any]:
    """Compares a split of a run with its training split, and the catalogue with itself.

    Args:
        run_dir: holds `catalogue/` and `examples/`, and where the run was evaluated `metrics/`.
        split: `validation` or `test`.

    Returns:
        `tasks` by name: `num_pairs`, `num_queries`, `leakage`, `duplicates` (of text queries,
        across the splits), `drift` of `query words` (of the distinct queries) and of `popularity`
        (other training pairs of each pair's candidate), `interval` of Recall@10 where evaluated;
        `catalogue` by entity, `duplicates_within` of its texts; `warnings`, sentences.

    Raises:
        InputError: no task has pairs in the split.
    """
    counts = read_manifest(run_dir / "examples")["tasks"]
    tested = sorted(name for name, one in counts.items() if one.get(split))
    if not tested:
        raise InputError(
            f"data checks need pairs of the {split} split. Found: none in {run_dir}. Give "
            "engagements a split, or times to split by."
        )
    texts, train = RunTexts(run_dir), TrainingPairs(run_dir)
    evaluated = _figures(run_dir, split)
    tasks = {}
    for name in tested:
        tasks[name] = _check_task(Task.parse(name), read_pairs(run_dir, name, split), texts, train)
        if name in evaluated:
            tasks[name]["interval"] = evaluated[name]["intervals"][MAIN_FIGURE]
    kinds = sorted({Task.parse(name).candidate_type for name in tested} - {"query"})
    catalogue = {
        kind: duplicates_within(
            {one: texts.fields(kind).document(one) for one in texts.fields(kind).rows}
        )
        for kind in kinds
    }
    warnings = data_warnings(tasks, catalogue)
    return {"split": split, "tasks": tasks, "catalogue": catalogue, "warnings": warnings}


def _check_task(
    task: Task, pairs: tuple[list[str], list[str]], texts: RunTexts, train: TrainingPairs
) -> dict[str, Any]:
    queries, candidates = pairs
    known_queries, known_candidates = train.of(task)
    found: dict[str, Any] = {
        "num_pairs": len(set(zip(queries, candidates, strict=True))),
        "num_queries": len(set(queries)),
        "leakage": leakage(
            zip(known_queries, known_candidates, strict=True),
            zip(queries, candidates, strict=True),
        ),
    }
    if task.query_entity == "query":
        found["duplicates"] = duplicates_across(known_queries, queries)
    if known_queries:
        popularity = train.candidate_counts(task.candidate_type)
        words = [
            words_of(texts.titles(task.query_entity, sorted(set(one))))
            for one in (known_queries, queries)
        ]
        found["drift"] = {
            "query words": drift(*words),
            # A training pair counts itself, which a pair of another split cannot.
            "popularity": drift(
                [popularity[one] - 1 for one in known_candidates],
                [popularity[one] for one in candidates],
            ),
        }
    return found


def _figures(run_dir: Path, split: str) -> dict[str, Any]:
    """The figures of each task where `evaluate` left them; else none."""
    path = run_dir / "metrics" / f"evaluate-{split}.json"
    if not path.is_file():
        return {}
    tasks: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["tasks"]
    return tasks
