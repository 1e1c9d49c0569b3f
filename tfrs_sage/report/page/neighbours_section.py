"""What is found for real queries: good, random and bad cases, chosen by rule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfrs_sage.evaluation.ranking import top_k
from tfrs_sage.report.page.figures_section import evaluate_command
from tfrs_sage.report.page.material import Absent, Material
from tfrs_sage.report.ranks import TaskRanks
from tfrs_sage.schema.features import Task

CASES, NEIGHBOURS, SIDE = 4, 8, 128  # of each kind; of each case; pixels of a thumbnail
KINDS = ("good", "random", "bad")
RULE = (
    "A query's rank is that of the best-ranked product or pin that somebody engaged with after it "
    f"in the split. Good: the {CASES} queries of the best ranks; random: {CASES} drawn from all "
    f"queries; bad: the {CASES} of the worst ranks. Ties are broken by a draw; every draw has the "
    "seed {seed}; none was chosen by hand. A query that is a candidate itself takes a rank too, "
    "and is left out of its row."
)


@dataclass(frozen=True)
class Case:
    """A query that is shown.

    Attributes:
        query: its id or text.
        rank: of its best-ranked positive.
        positives: ids of all its positives of the split, by rank.
    """

    query: str
    rank: int
    positives: dict[str, int]


def neighbours_section(run: Material) -> dict[str, Any] | Absent:
    """Grids of the nearest candidates, a task of each kind of query and candidate."""
    if not run.ranks:
        return Absent(
            f"cases are chosen by the ranks of the {run.split} split, which was not evaluated",
            evaluate_command(run),
        )
    names = shown_tasks(run.ranks)
    if any(not run.is_embedded(Task.parse(name).candidate_type) for name in names):
        return Absent("the catalogue is not embedded", run.command("embed"))
    if any(Task.parse(name).query_type == "search" for name in names) and not run.has_tower(
        "query_tower"
    ):
        return Absent("queries are embedded by the exported query tower", run.command("export"))
    return {
        "rule": RULE.format(seed=run.seed),
        "tasks": [_grid(run, name) for name in names],
        "neighbours": NEIGHBOURS,
    }


def shown_tasks(ranks: Mapping[str, TaskRanks]) -> list[str]:
    """Of each kind of query and candidate the task with most queries; texts found are left out."""
    best: dict[tuple[str, str], str] = {}
    for name in sorted(name for name in ranks if "@" not in name):
        task = Task.parse(name)
        kind = (task.query_type, task.candidate_type)
        if task.candidate_type == "query":
            continue
        if kind not in best or _queries(ranks[name]) > _queries(ranks[best[kind]]):
            best[kind] = name
    return sorted(best.values(), key=lambda name: -_queries(ranks[name]))


def _queries(ranks: TaskRanks) -> int:
    return len(set(ranks.queries))


def chosen_cases(ranks: TaskRanks, seed: int, number: int = CASES) -> dict[str, list[Case]]:
    """The cases of each of `KINDS`, by `RULE`."""
    positives: dict[str, dict[str, int]] = {}
    for query, candidate, rank in zip(ranks.queries, ranks.candidates, ranks.ranks, strict=True):
        positives.setdefault(query, {})[candidate] = int(rank)
    queries = sorted(positives)
    best = np.array([min(positives[query].values()) for query in queries])
    random = np.random.default_rng(seed)
    luck = random.permutation(len(queries))
    order = np.lexsort((luck, best))
    drawn = random.permutation(len(queries))
    rows = {"good": order, "random": drawn, "bad": order[::-1]}
    return {
        kind: [
            Case(
                queries[row],
                int(best[row]),
                dict(sorted(positives[queries[row]].items(), key=lambda item: item[1])),
            )
            for row in rows[kind][:number]
        ]
        for kind in KINDS
    }


def _grid(run: Material, name: str) -> dict[str, Any]:
    task, cases = Task.parse(name), chosen_cases(run.ranks[name], run.seed)
    every = list({case.query: None for kind in KINDS for case in cases[kind]})
    ids, vectors = run.vectors.entities(task.candidate_type)
    rows, scores = top_k(run.vectors.queries(task, every), vectors, NEIGHBOURS + 1)
    found = {
        query: [
            (str(ids[row]), float(score))
            for row, score in zip(of_query, with_scores, strict=True)
            if task.query_entity != task.candidate_type or ids[row] != query
        ][:NEIGHBOURS]
        for query, of_query, with_scores in zip(every, rows, scores, strict=True)
    }
    wanted = {one for pairs in found.values() for one, _ in pairs}
    wanted |= {_best(case) for kind in KINDS for case in cases[kind]}
    shown = _shown(run, task.candidate_type, sorted(wanted))
    asked = _shown(run, task.query_entity, every)
    return {
        "name": name,
        "queries": _queries(run.ranks[name]),
        "candidates": len(ids),
        "kinds": {
            kind: [
                {
                    "query": asked[case.query],
                    "is_text": task.query_entity == "query",
                    "rank": case.rank,
                    "best": shown[_best(case)],
                    "neighbours": [
                        {**shown[one], "score": score, "positive": one in case.positives}
                        for one, score in found[case.query]
                    ],
                }
                for case in cases[kind]
            ]
            for kind in KINDS
        },
    }


def _best(case: Case) -> str:
    return next(iter(case.positives))


def _shown(run: Material, entity: str, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Title and picture of each."""
    titles = dict(zip(ids, run.texts.titles(entity, ids), strict=True))
    pictures = {} if entity == "query" else run.pictures.thumbnails(entity, ids, SIDE)
    return {
        one: {"id": one, "title": titles[one] or one, "picture": pictures.get(one)} for one in ids
    }
