"""Training a real run: resumed equals uninterrupted; the script of one's own."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfrs_sage.training.checkpoints import checkpoints
from tfrs_sage.training.fit import train, training_fingerprint
from tfrs_sage.training.stopping import TrainingDiverged

pytestmark = pytest.mark.integration


def test_a_stopped_training_ends_as_an_uninterrupted_one(run) -> None:
    train(run.path, run.config)
    _, last = checkpoints(run.path / "checkpoints")
    with np.load(last / "variables.npz") as arrays:
        whole = dict(arrays)
    names = json.loads((last / "manifest.json").read_text())["names"]
    shutil.rmtree(last)  # as if it had been killed after step 3
    summary = train(run.path, run.config)
    assert summary["steps"] == 6
    with np.load(last / "variables.npz") as arrays:
        for name, key in zip(names, whole, strict=True):
            np.testing.assert_allclose(arrays[key], whole[key], atol=1e-6, err_msg=name)
    lines = (run.path / "metrics" / "train.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [3, 6]


def test_another_configuration_begins_anew_and_keeps_the_old_checkpoints(run) -> None:
    train(run.path, run.config)
    before = sorted(path.name for path in checkpoints(run.path / "checkpoints"))
    changed = run.config.training.model_copy(update={"seed": 5})
    train(run.path, run.config.model_copy(update={"training": changed}))
    (aside,) = run.path.glob("checkpoints-*")
    assert sorted(path.name for path in checkpoints(aside)) == before
    lines = (run.path / "metrics" / "train.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [3, 6]
    assert (aside / "train.jsonl").is_file()  # the old curves went with the old checkpoints


def test_a_diverged_training_says_where_and_what_is_left(run) -> None:
    train(run.path, run.config)
    newest = checkpoints(run.path / "checkpoints")[-1].name
    longer = {"steps": 9, "learning_rate": 1e30, "clip_norm": 1e30}
    training = run.config.training.model_copy(update=longer)
    for path in checkpoints(run.path / "checkpoints"):  # as if they belonged to the longer one
        manifest = json.loads((path / "manifest.json").read_text())
        config = run.config.model_copy(update={"training": training})
        manifest |= {"num_steps": 9, "fingerprint": training_fingerprint(run.path, config)}
        (path / "manifest.json").write_text(json.dumps(manifest))
    message = rf"Found at step \d+: .*loss.* is not.*{newest}.*training.learning_rate"
    with pytest.raises(TrainingDiverged, match=message):
        train(run.path, config)


def test_the_example_script_trains(preprocessed) -> None:
    script = Path(__file__).parents[2] / "examples" / "fit_itemsage.py"
    assert len(script.read_text().splitlines()) <= 60
    done = subprocess.run(
        [sys.executable, str(script), str(preprocessed.path)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    losses = json.loads(done.stdout.splitlines()[-1].removeprefix("loss by epoch:"))
    assert losses[1] < losses[0]
