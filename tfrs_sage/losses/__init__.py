"""Sampled softmax and its corrections; the count-min sketch."""

from tfrs_sage.losses.config import LossConfig
from tfrs_sage.losses.matryoshka import cut, weighted_widths
from tfrs_sage.losses.replicas import (
    gather_rows,
    num_replicas,
    sum_over_replicas,
    update_everywhere,
)
from tfrs_sage.losses.sampled_softmax import (
    NEGATIVE_MODES,
    Negatives,
    OwnNegatives,
    false_negative_mask,
    log_q,
    mean_of_rows,
    retrieval_losses,
    softmax_loss,
)
from tfrs_sage.losses.sketch import CountMinSketch

__all__ = [
    "NEGATIVE_MODES",
    "CountMinSketch",
    "LossConfig",
    "Negatives",
    "OwnNegatives",
    "cut",
    "false_negative_mask",
    "gather_rows",
    "log_q",
    "mean_of_rows",
    "num_replicas",
    "retrieval_losses",
    "softmax_loss",
    "sum_over_replicas",
    "update_everywhere",
    "weighted_widths",
]
