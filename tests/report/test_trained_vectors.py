"""Ranks of a checkpoint: those of the exports, where both are (`integration/test_prefix.py`)."""

from pathlib import Path

import pytest

from tfrs_sage.errors import InputError
from tfrs_sage.report.trained_vectors import TrainedVectors
from tfrs_sage.training.config import load_config


def test_an_untrained_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must hold a checkpoint\. Found: none"):
        TrainedVectors(tmp_path, load_config("tiny"))
