"""The figures of one task: the model's, and beside them what they are to be measured by."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfrs_sage.evaluation.baselines import popularity_ranks, random_baseline
from tfrs_sage.evaluation.lists import list_figures
from tfrs_sage.evaluation.pairs import Rows, pool_pairs, rows_of
from tfrs_sage.evaluation.ranking import rank_pairs, top_k
from tfrs_sage.evaluation.retrieval_metrics import intervals_of_ranks, metrics_of_ranks
from tfrs_sage.evaluation.vector_blocks import VectorBlocks
from tfrs_sage.index.prefix import cut_to_prefix
from tfrs_sage.report.baselines import COMPARED, Baselines, compared_figures
from tfrs_sage.report.ranks import TaskRanks
from tfrs_sage.report.run_vectors import RunVectors
from tfrs_sage.report.slices import Slices
from tfrs_sage.schema.features import Task

LIST_LENGTH = 10

Pairs = Sequence[tuple[list[str], list[str]]]


@dataclass(frozen=True)
class Beside:
    """What is computed beside a task's figures.

    Attributes:
        prefixes: widths of the Matryoshka prefixes that are evaluated too; those wider than the
            candidates are left out.
        baselines: where they are wanted.
        slices: where they are wanted.
        slice_names: which of them.
        lists: figures of the lists of the ten best too.
        distractors: further candidates of every task, in the space of the run's embeddings.
    """

    prefixes: Sequence[int] = ()
    baselines: Baselines | None = None
    slices: Slices | None = None
    slice_names: Sequence[str] = ()
    lists: bool = False
    distractors: VectorBlocks | None = None


@dataclass(frozen=True)
class _Ranking:
    """Vectors and pairs of a task; `distractors` as `Beside` has them."""

    queries: np.ndarray
    vectors: np.ndarray
    pair_query: Rows
    pair_candidate: Rows
    distractors: VectorBlocks | None

    @property
    def size(self) -> int:
        return len(self.vectors) + (self.distractors.count if self.distractors else 0)

    def ranks(self) -> Rows:
        return rank_pairs(
            self.queries,
            self.vectors,
            self.pair_query,
            self.pair_candidate,
            self.distractors or (),
        )

    def cut(self, width: int) -> "_Ranking":
        """The same of the first components alone."""
        more = self.distractors
        return _Ranking(
            cut_to_prefix(self.queries, width),
            cut_to_prefix(self.vectors, width),
            self.pair_query,
            self.pair_candidate,
            more.changed(lambda block: cut_to_prefix(block, width)) if more else None,
        )

    def list_figures(self, trained: Rows) -> dict[str, float | None]:
        """`list_figures` of the ten best; None where a figure is not defined."""
        lists, _ = top_k(self.queries, self.vectors, LIST_LENGTH)
        popularity = np.bincount(trained, minlength=len(self.vectors))
        found = list_figures(lists, self.vectors, self.pair_query, self.pair_candidate, popularity)
        return {name: None if math.isnan(one) else one for name, one in found.items()}


def evaluate_pairs(
    run: RunVectors,
    tasks: Sequence[Task],
    pairs: Pairs,
    train: Sequence[list[str]],
    beside: Beside,
    column: str | None = None,
) -> tuple[dict[str, Any], TaskRanks]:
    """Figures of one task, or of several with the same kinds of query and candidate pooled.

    Args:
        run: the vectors of the run.
        tasks: one task or more.
        pairs: query ids and candidate ids of each task's pairs.
        train: candidate ids of each task's training pairs, for the most popular.
        beside: what else is computed.
        column: of vectors that are the candidates, in place of the run's embeddings; pairs whose
            candidate has none are left out, and queries are cut to its width.

    Returns:
        Figures as `metrics_of_ranks`, with `intervals`; with `random`, `popular` and the other
        baselines; by width as text, `prefixes`; `lists` and `slices` where wanted; of a column
        also `column`, its `dimension` and `num_left_out`, pairs. And the ranks.
    """
    first = tasks[0]
    extra: dict[str, Any] = {}
    if column is None:
        all_candidates = [candidate for _, candidates in pairs for candidate in candidates]
        ids, vectors = run.candidates(first, all_candidates)
    else:
        ids, vectors = run.fixed(first.candidate_type, column)
        pairs, num_left_out = with_vector(pairs, set(ids))
        extra = {
            "column": column,
            "dimension": int(vectors.shape[1]),
            "num_left_out": num_left_out,
        }
    id_list = list(ids)
    distinct = sorted({query for queries, _ in pairs for query in queries})
    pair_query, pair_candidate = pool_pairs(
        (rows_of(queries, distinct, "query"), rows_of(candidates, id_list))
        for queries, candidates in pairs
    )
    queries = run.queries(first, distinct)
    if column is not None:
        queries = cut_to_prefix(queries, vectors.shape[1])
    distractors = beside.distractors if column is None else None
    ranking = _Ranking(queries, vectors, pair_query, pair_candidate, distractors)
    ranks = TaskRanks(
        [distinct[row] for row in pair_query],
        [id_list[row] for row in pair_candidate],
        ranking.ranks(),
        ranking.size,
    )
    figures: dict[str, Any] = {
        **metrics_of_ranks(ranks.ranks, pair_query, ranking.size),
        "intervals": intervals_of_ranks(ranks.ranks, pair_query),
        **extra,
    }
    known = set(id_list)
    trained = rows_of([one for part in train for one in part if one in known], id_list)
    random = random_baseline(pair_query, ranking.size)
    popular = popularity_ranks(trained, pair_candidate, len(id_list))
    figures["random"] = {key: random[key] for key in COMPARED}
    figures["popular"] = compared_figures(popular, pair_query, ranking.size)
    if beside.baselines is not None:
        figures |= beside.baselines.figures(first, distinct, id_list, pair_query, pair_candidate)
    if beside.lists:
        figures["lists"] = ranking.list_figures(trained)
    for width in (one for one in beside.prefixes if one <= vectors.shape[1]):
        cut = ranking.cut(width)
        of_prefix: dict[str, Any] = compared_figures(cut.ranks(), pair_query, cut.size)
        if beside.lists:
            of_prefix["lists"] = cut.list_figures(trained)
        figures.setdefault("prefixes", {})[str(width)] = of_prefix
    if beside.slices is not None:
        figures["slices"] = beside.slices.figures(first, ranks, beside.slice_names)
    return figures, ranks


def with_vector(
    pairs: Pairs, known: Collection[str]
) -> tuple[list[tuple[list[str], list[str]]], int]:
    """The pairs of each task whose candidate is known, and how many are not."""
    kept = []
    left_out = 0
    for queries, candidates in pairs:
        there = [i for i, candidate in enumerate(candidates) if candidate in known]
        kept.append(([queries[i] for i in there], [candidates[i] for i in there]))
        left_out += len(candidates) - len(there)
    return kept, left_out
