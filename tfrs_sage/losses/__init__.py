"""Sampled softmax and its corrections; the count-min sketch."""

from tfrs_sage.losses.config import LossConfig
from tfrs_sage.losses.sampled_softmax import (
    NEGATIVE_MODES,
    Negatives,
    false_negative_mask,
    log_q,
    retrieval_losses,
    softmax_loss,
)
from tfrs_sage.losses.sketch import CountMinSketch

__all__ = [
    "NEGATIVE_MODES",
    "CountMinSketch",
    "LossConfig",
    "Negatives",
    "false_negative_mask",
    "log_q",
    "retrieval_losses",
    "softmax_loss",
]
