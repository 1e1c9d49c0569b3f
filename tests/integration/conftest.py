"""A small marketplace, preprocessed once for all integration tests of a worker."""

import shutil
from pathlib import Path

import pytest

from tfrs_sage.cli.run_folder import RunFolder
from tfrs_sage.datasets.marketplace import write_marketplace
from tfrs_sage.training.config import load_config

SETTINGS = [
    "training.steps=6",
    "training.checkpoint_steps=3",
    "training.batch_size=64",
    "training.random_negatives=32",
    "embedding_dim=32",
]


@pytest.fixture(scope="session")
def preprocessed(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("marketplace")
    write_marketplace(folder / "tables", num_products=60, seed=1, num_processes=1)
    run = RunFolder(folder / "run", load_config("tiny", None, SETTINGS), str(folder / "tables"))
    run.save()
    run.do("preprocess")
    return run


@pytest.fixture
def run(preprocessed: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy of the preprocessed run, to be trained and changed."""
    shutil.copytree(preprocessed.path, tmp_path / "run")
    return RunFolder(tmp_path / "run", preprocessed.config, preprocessed.input)
