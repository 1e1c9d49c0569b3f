"""A training that is stopped, then killed, ends as one that was left alone."""

import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tfrs_sage.training.checkpoints import checkpoints
from tfrs_sage.training.curves import read_curves
from tfrs_sage.training.fit import train

pytestmark = pytest.mark.integration
SETTINGS = {"steps": 60, "checkpoint_steps": 7, "log_steps": 1}


def start(folder):
    command = [sys.executable, "-m", "tfrs_sage.cli", "train", "--dir", str(folder), "--json"]
    command += [f"--set=training.{key}={value}" for key, value in SETTINGS.items()]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_step(process, folder, step):
    """Until the curves of a running training reach `step`."""
    for _ in range(3000):
        curves = read_whole_lines(folder / "metrics" / "train.jsonl")
        if curves and curves[-1]["step"] >= step:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError(f"no step {step} after 150 s")


def read_whole_lines(path):
    text = path.read_text() if path.is_file() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def test_sigterm_then_kill_then_the_same_end(run, tmp_path) -> None:
    alone = tmp_path / "alone"
    shutil.copytree(run.path, alone)
    settings = run.config.training.model_copy(update=SETTINGS)
    train(alone, run.config.model_copy(update={"training": settings}))

    process = start(run.path)
    wait_for_step(process, run.path, 4)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    (stopped_at,) = (
        int(path.name.removeprefix("step-")) for path in checkpoints(run.path / "checkpoints")[-1:]
    )
    assert f"stopped by SIGTERM after step {stopped_at} of 60" in errors
    assert "stopped by SIGTERM" in json.loads(output)["stopped"]

    process = start(run.path)
    wait_for_step(process, run.path, stopped_at + 11)
    process.kill()
    process.communicate(timeout=60)
    killed_after = checkpoints(run.path / "checkpoints")[-1].name

    process = start(run.path)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors[-2000:]
    assert f"restored {run.path}/checkpoints/{killed_after}" in errors.replace("\n", "")

    ours, theirs = (checkpoints(folder / "checkpoints")[-1] for folder in (run.path, alone))
    names = json.loads((theirs / "manifest.json").read_text())["names"]
    with np.load(ours / "variables.npz") as found, np.load(theirs / "variables.npz") as expected:
        for name, key in zip(names, sorted(expected), strict=True):
            np.testing.assert_allclose(found[key], expected[key], atol=1e-6, err_msg=name)
    curves, expected_curves = (
        read_curves(folder / "metrics" / "train.jsonl") for folder in (run.path, alone)
    )
    assert [line["step"] for line in curves] == list(range(1, 61))
    for line, wanted in zip(curves, expected_curves, strict=True):
        assert line["loss"] == pytest.approx(wanted["loss"], rel=1e-5)
