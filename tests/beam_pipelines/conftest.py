"""Runs of the job over the tiny tables, each made once."""

from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.preprocess import preprocess
from tests.beam_pipelines.tiny_tables import (
    BAD_ENGAGEMENTS,
    BAD_PRODUCTS,
    ENGAGEMENTS,
    PINS,
    PRODUCTS,
    write_tables,
)
from tfrs_sage.schema.config import PreprocessConfig

CONFIG = PreprocessConfig(min_count=2, wordpiece_size=200, max_reject_share=0.5)


@pytest.fixture(scope="session")
def clean_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("clean")
    tables = write_tables(folder / "tables", products=PRODUCTS, pins=PINS, engagements=ENGAGEMENTS)
    return folder / "run", preprocess(str(tables), str(folder / "run"), CONFIG, [])


@pytest.fixture(scope="session")
def faulty_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("faulty")
    tables = write_tables(
        folder / "tables",
        products=PRODUCTS + BAD_PRODUCTS,
        pins=PINS,
        engagements=ENGAGEMENTS + BAD_ENGAGEMENTS,
    )
    return folder / "run", preprocess(str(tables), str(folder / "run"), CONFIG, [])
