"""How good a ranking is: exact ranks, recall, MRR, NDCG, baselines, intervals (numpy)."""

from tfrs_sage.evaluation.baselines import popularity_baseline, random_baseline
from tfrs_sage.evaluation.intervals import bootstrap_interval
from tfrs_sage.evaluation.judgments import evaluate_judgments, ndcg_at_k
from tfrs_sage.evaluation.metrics import recall_at_k, reciprocal_rank
from tfrs_sage.evaluation.pairs import pool_pairs, rows_of
from tfrs_sage.evaluation.ranking import rank_pairs, top_k
from tfrs_sage.evaluation.retrieval_metrics import (
    evaluate_task,
    metrics_of_ranks,
    recall_per_query,
    reciprocal_rank_per_query,
)

__all__ = [
    "bootstrap_interval",
    "evaluate_judgments",
    "evaluate_task",
    "metrics_of_ranks",
    "ndcg_at_k",
    "pool_pairs",
    "popularity_baseline",
    "random_baseline",
    "rank_pairs",
    "recall_at_k",
    "recall_per_query",
    "reciprocal_rank",
    "reciprocal_rank_per_query",
    "rows_of",
    "top_k",
]
