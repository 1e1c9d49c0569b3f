"""How good a ranking is: exact ranks, recall, MRR, NDCG, lists, baselines, intervals (numpy)."""

from tfrs_sage.evaluation.baselines import popularity_baseline, random_baseline
from tfrs_sage.evaluation.intervals import bootstrap_interval, bootstrap_intervals
from tfrs_sage.evaluation.judgments import evaluate_judgments, ndcg_at_k
from tfrs_sage.evaluation.lists import (
    coverage,
    gini,
    intra_list_diversity,
    list_figures,
    novelty,
    popularity_lift,
)
from tfrs_sage.evaluation.metrics import recall_at_k, reciprocal_rank
from tfrs_sage.evaluation.paired import PairedTest, paired_test
from tfrs_sage.evaluation.pairs import pool_pairs, rows_of
from tfrs_sage.evaluation.per_query import (
    per_query,
    recall_per_query,
    reciprocal_rank_per_query,
)
from tfrs_sage.evaluation.ranking import rank_pairs, top_k
from tfrs_sage.evaluation.retrieval_metrics import (
    evaluate_task,
    intervals_of_ranks,
    metrics_of_ranks,
)
from tfrs_sage.evaluation.vector_blocks import VectorBlocks

__all__ = [
    "PairedTest",
    "VectorBlocks",
    "bootstrap_interval",
    "bootstrap_intervals",
    "coverage",
    "evaluate_judgments",
    "evaluate_task",
    "gini",
    "intervals_of_ranks",
    "intra_list_diversity",
    "list_figures",
    "metrics_of_ranks",
    "ndcg_at_k",
    "novelty",
    "paired_test",
    "per_query",
    "pool_pairs",
    "popularity_baseline",
    "popularity_lift",
    "random_baseline",
    "rank_pairs",
    "recall_at_k",
    "recall_per_query",
    "reciprocal_rank",
    "reciprocal_rank_per_query",
    "rows_of",
    "top_k",
]
