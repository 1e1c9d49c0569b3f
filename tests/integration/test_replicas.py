"""One replica with the whole batch and several with a part each end with the same weights."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.training.small_run import config, small_run
from tfrs_sage.training.checkpoints import latest_checkpoint
from tfrs_sage.training.config import save_config
from tfrs_sage.training.curves import read_curves

pytestmark = pytest.mark.integration

PROGRAM = Path(__file__).with_name("replica_program.py")
# Sizes that divide by two, so that a step is the same on one replica and on two.
TASKS = {"search/product/click": 16, "product/product/click": 8, "search/query/click": 8}
SETTINGS = [
    "training.steps=4",
    "training.log_steps=1",
    "query_tower.dropout=0",
    f"training.tasks={json.dumps({name: {'batch_size': size} for name, size in TASKS.items()})}",
]


def start(folder, *settings, num_devices=1, tf_config=None):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    if tf_config:
        environment["TF_CONFIG"] = json.dumps(tf_config)
    command = [sys.executable, str(PROGRAM), str(folder), str(num_devices), *SETTINGS, *settings]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process):
    output, errors = process.communicate(timeout=400)
    assert process.returncode == 0, errors[-3000:]
    return json.loads(output.splitlines()[-1])


def trained(folder):
    """Values by name, and the curves."""
    checkpoint = latest_checkpoint(folder / "checkpoints")
    names = json.loads((checkpoint / "manifest.json").read_text())["names"]
    with np.load(checkpoint / "variables.npz") as arrays:
        values = dict(zip(names, (arrays[key] for key in sorted(arrays)), strict=True))
    return values, read_curves(folder / "metrics" / "train.jsonl")


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture
def folders(preprocessed, tmp_path):
    names = ("one", "mirrored", "workers")
    for name in names:
        shutil.copytree(preprocessed.path, tmp_path / name)
    return {name: tmp_path / name for name in names}


def assert_equal(folder, reference, *others) -> None:
    (values, curves), (expected, expected_curves) = trained(folder), trained(reference)
    for line, wanted in zip(curves, expected_curves, strict=True):
        for key in ("loss", "gradient_norm", "search/product/click/loss", *others):
            assert line[key] == pytest.approx(wanted[key], rel=1e-4), (key, wanted["step"])
    assert values.keys() == expected.keys()
    for name, value in expected.items():
        if "counts" in name or "/total" in name:  # of the sketches: the global batch, once
            np.testing.assert_array_equal(values[name], value, err_msg=name)
        elif "seed_generator" not in name:
            np.testing.assert_allclose(values[name], value, atol=2e-4, err_msg=name)


def test_two_devices_and_two_workers_train_as_one(folders) -> None:
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    one = finish(start(folders["one"], "training.strategy=one"))
    finish(start(folders["mirrored"], "training.strategy=mirrored", num_devices=2))
    assert_equal(folders["mirrored"], folders["one"])
    processes = [
        start(
            folders["workers"],
            "training.strategy=multi_worker",
            tf_config={"cluster": {"worker": workers}, "task": {"type": "worker", "index": i}},
        )
        for i in range(2)
    ]
    summaries = [finish(process) for process in processes]
    assert [summary["steps"] for summary in summaries] == [one["steps"]] * 2
    assert_equal(folders["workers"], folders["one"])


def test_a_compatibility_task_of_unequal_parts_trains_as_one(tmp_path) -> None:
    """A quarter of the products have the vector: a replica's rows are seldom as many."""
    tasks = {"search/product/click": {"batch_size": 16}, "pin/product/save": {"batch_size": 8}}
    settings = [
        "training.tasks=null",
        f"training.tasks={json.dumps(tasks)}",
        "training.compatibility={product: [graph_embedding]}",
        "loss.reduction=mean",
    ]
    for name in ("one", "mirrored"):
        shutil.copytree(small_run(), tmp_path / name)
        save_config(config(), tmp_path / name / "config.yaml")
    finish(start(tmp_path / "one", "training.strategy=one", *settings))
    finish(start(tmp_path / "mirrored", "training.strategy=mirrored", *settings, num_devices=2))
    key = "search/product/click@graph_embedding"
    assert_equal(tmp_path / "mirrored", tmp_path / "one", f"{key}/loss")
