"""What a run must beat: BM25, its encoder without training, what was engaged with together."""

import logging
from collections.abc import Iterator, Sequence
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
        self._rankers: dict[str, _Rankers] = {}
        self._encoder: PretrainedEncoder | None = None
        tower = config.query_tower
        if tower.preset is None:
            logger.warning("no pretrained baseline: query_tower.preset is not set")
        else:
            self._encoder = PretrainedEncoder(tower.preset, tower.max_length, run_dir / "baselines")

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
        rankers = self._of(task.candidate_type, candidates)
        titles = self._texts.titles(task.query_entity, queries)
        bm25, together = np.empty((2, len(pair_query)), np.int64)
        for query, pairs in _pairs_of(pair_query):
            rows = pair_candidate[pairs]
            bm25[pairs] = rank_in_scores(rankers.bm25.scores(titles[query]), rows)
            scores = rankers.cooccurrence_scores(task.query_type, queries[query])
            together[pairs] = rank_in_scores(scores, rows, then=rankers.cooccurrence.count)
        ranks = {"bm25": bm25, "cooccurrence": together}
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

    def _of(self, candidate_type: str, candidates: Sequence[str]) -> "_Rankers":
        """What ranks these candidates; made once for all tasks over the same ones."""
        made = self._rankers.get(candidate_type)
        if made is None or made.candidates != list(candidates):
            documents = self._texts.documents(candidate_type, candidates)
            made = _Rankers(candidate_type, candidates, documents, self._train.to(candidate_type))
            self._rankers[candidate_type] = made
        return made


class _Rankers:
    """BM25 and co-occurrence over a list of candidates.

    Args:
        candidate_type: kind of the candidates.
        candidates: their ids.
        documents: their texts.
        train: (query type, query, candidate) of the training pairs to such candidates.
    """

    def __init__(
        self,
        candidate_type: str,
        candidates: Sequence[str],
        documents: Sequence[str],
        train: Sequence[tuple[str, str, str]],
    ) -> None:
        self.candidates = list(candidates)
        self.bm25 = Bm25(documents)
        self._type = candidate_type
        self._rows = {one: row for row, one in enumerate(candidates)}
        self._baskets: dict[tuple[str, str], list[int]] = {}
        for query_type, query, candidate in train:
            key = (query_type, query)
            if key not in self._baskets:
                self._baskets[key] = self._own_row(*key)
            if candidate in self._rows:
                self._baskets[key].append(self._rows[candidate])
        sizes = [len(basket) for basket in self._baskets.values()]
        items = [row for basket in self._baskets.values() for row in basket]
        numbers = np.repeat(np.arange(len(sizes)), sizes)
        self.cooccurrence = Cooccurrence(numbers, items, len(candidates))

    def cooccurrence_scores(self, query_type: str, query: str) -> np.ndarray:
        """Of all candidates, by what the query had in training, and by itself where it is one."""
        key = (query_type, query)
        return self.cooccurrence.scores(self._baskets.get(key, self._own_row(*key)))

    def _own_row(self, query_type: str, query: str) -> list[int]:
        """The row of a query that is itself one of the candidates; else none."""
        own = query_type == self._type and query in self._rows
        return [self._rows[query]] if own else []


def _pairs_of(pair_query: Rows) -> Iterator[tuple[int, Rows]]:
    """Each query that has pairs, and which they are."""
    order = np.argsort(pair_query, kind="stable")
    queries, starts = np.unique(pair_query[order], return_index=True)
    yield from zip(queries.tolist(), np.split(order, starts[1:]), strict=True)
