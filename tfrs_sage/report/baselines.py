"""What a run must beat: BM25, its encoder without training, what was engaged with together."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_sage.evaluation.bm25 import Bm25
from tfrs_sage.evaluation.cooccurrence import Cooccurrence
from tfrs_sage.evaluation.pairs import Rows
from tfrs_sage.evaluation.ranking import rank_in_scores, rank_pairs
from tfrs_sage.evaluation.retrieval_metrics import intervals_of_ranks, metrics_of_ranks
from tfrs_sage.report.catalogue_fields import RunTexts
from tfrs_sage.report.pretrained import PretrainedEncoder
from tfrs_sage.report.run_pairs import TrainingPairs
from tfrs_sage.schema.features import Task
from tfrs_sage.training.config import RunConfig

logger = logging.getLogger(__name__)
COMPARED = ("recall@10", "recall@100", "mrr")  # the rest is that of the model, or of no use here


def compared_figures(ranks: Rows, pair_query: Rows, index_size: int) -> dict[str, Any]:
    """`COMPARED` and their `intervals`, of a baseline's ranks."""
    figures = metrics_of_ranks(ranks, pair_query, index_size)
    intervals = intervals_of_ranks(ranks, pair_query)
    return {
        **{key: figures[key] for key in COMPARED},
        "intervals": {key: intervals[key] for key in COMPARED},
    }


class Baselines:
    """Figures of rankings that no training made, over the candidates that the run ranks.

    - `bm25`: the query's words in all texts of the candidate;
    - `pretrained`: cosine of the query and the candidate's title in the preset of the query
      tower, mean-pooled; left out, with a warning, where the run has no preset;
    - `cooccurrence`: candidates that training queries had together with those of the query, and
      with the query itself where it is an item of the catalogue. Without any, and among equals,
      the most popular first.

    A product's or pin's title stands for it as a query; where it has none, its first text.

    Args:
        run_dir: holds `catalogue/` and `examples/`.
        config: of the run.
    """

    def __init__(self, run_dir: Path, config: RunConfig) -> None:
        self._texts = RunTexts(run_dir)
        self._train = TrainingPairs(run_dir)
        self._encoder: PretrainedEncoder | None = None
        tower = config.query_tower
        if tower.preset is None:
            logger.warning("no pretrained baseline: query_tower.preset is not set")
        else:
            self._encoder = PretrainedEncoder(tower.preset, tower.max_length)

    def figures(
        self,
        task: Task,
        queries: Sequence[str],
        candidates: Sequence[str],
        pair_query: Rows,
        pair_candidate: Rows,
    ) -> dict[str, dict[str, Any]]:
        """Figures of each baseline for the pairs of a task, or of a group of like tasks.

        Args:
            task: the task, or one of them.
            queries: ids of the distinct queries.
            candidates: ids of all candidates, in the order of the ranking's rows.
            pair_query: int `[p]`, row of each pair's query.
            pair_candidate: int `[p]`, row of each pair's candidate.

        Returns:
            By baseline, as `compared_figures`.
        """
        ranks = {
            "bm25": self._bm25(task, queries, candidates, pair_query, pair_candidate),
            "cooccurrence": self._cooccurrence(
                task, queries, candidates, pair_query, pair_candidate
            ),
        }
        if self._encoder is not None:
            ranks["pretrained"] = rank_pairs(
                self._encoder(self._texts.titles(task.query_entity, queries)),
                self._encoder(self._texts.titles(task.candidate_type, candidates)),
                pair_query,
                pair_candidate,
            )
        return {
            name: compared_figures(one, pair_query, len(candidates)) for name, one in ranks.items()
        }

    def _bm25(
        self,
        task: Task,
        queries: Sequence[str],
        candidates: Sequence[str],
        pair_query: Rows,
        pair_candidate: Rows,
    ) -> Rows:
        model = Bm25(self._texts.documents(task.candidate_type, candidates))
        titles = self._texts.titles(task.query_entity, queries)
        ranks = np.empty(len(pair_query), np.int64)
        for query, title in enumerate(titles):
            pairs = pair_query == query
            ranks[pairs] = rank_in_scores(model.scores(title), pair_candidate[pairs])
        return ranks

    def _cooccurrence(
        self,
        task: Task,
        queries: Sequence[str],
        candidates: Sequence[str],
        pair_query: Rows,
        pair_candidate: Rows,
    ) -> Rows:
        rows = {one: row for row, one in enumerate(candidates)}
        baskets: dict[tuple[str, str], list[int]] = {}
        for query_type, query, candidate in self._train.to(task.candidate_type):
            basket = baskets.setdefault(
                (query_type, query), _own_row(task, query_type, query, rows)
            )
            if candidate in rows:
                basket.append(rows[candidate])
        sizes = [len(basket) for basket in baskets.values()]
        items = [row for basket in baskets.values() for row in basket]
        model = Cooccurrence(np.repeat(np.arange(len(sizes)), sizes), items, len(candidates))
        ranks = np.empty(len(pair_query), np.int64)
        for number, name in enumerate(queries):
            own = _own_row(task, task.query_type, name, rows)
            scores = model.scores(baskets.get((task.query_type, name), own))
            pairs = pair_query == number
            ranks[pairs] = rank_in_scores(scores, pair_candidate[pairs], then=model.count)
        return ranks


def _own_row(task: Task, query_type: str, query: str, rows: dict[str, int]) -> list[int]:
    """The row of a query that is itself one of the candidates; else none."""
    return [rows[query]] if query_type == task.candidate_type and query in rows else []
