"""`tfrs-sage evaluate-users` on a run made by hand, with users whose answers are known."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.beam_pipelines.user_tables import ITEMS, make_run, row, write_rows
from tfrs_sage.artefacts import write_json
from tfrs_sage.cli.main import main
from tfrs_sage.training.config import load_config, save_config

DAY = 86_400.0
USERS = 6


def planted_rows():
    """Each user goes on with two interests of three, the newest action being of the first.

    Two tests, one for each interest; a validation of the first alone; bad views everywhere.
    """
    rows = []
    for number in range(USERS):
        first, second, gone = (f"{(number + step) % 4}" for step in range(3))
        name = f"u{number}"
        for item in range(4):
            rows.append(row(name, f"{second}.{item}", (1 + item) * DAY))
            rows.append(row(name, f"{gone}.{item}", (1 + item) * DAY + 60, action="view"))
        rows += [row(name, f"{first}.{item}", (10 + item) * DAY) for item in range(4)]
        rows.append(row(name, f"{first}.9", 15 * DAY, split="validation"))
        rows += [row(name, f"{one}.9", 20 * DAY, split="test") for one in (first, second)]
    rows.append(row("new", "0.1", 20 * DAY, split="test"))
    return rows


@pytest.fixture
def run_dir(tmp_path):
    folder = make_run(tmp_path / "run")
    tables = write_rows(tmp_path / "tables", planted_rows())
    products = [{"product_id": item, "title": f"thing {item}"} for item in ITEMS]
    path = tmp_path / "tables" / "products.jsonl"
    path.write_text("\n".join(map(json.dumps, products)))
    save_config(load_config("tiny", None, ["users.threshold=0.5"]), folder / "config.yaml")
    write_json(folder / "steps.json", {"done": {}, "input": tables})
    return folder


def result_of(capsys, *arguments):
    assert main(["evaluate-users", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_planted_answers(run_dir, capsys) -> None:
    settings = ["users.num_candidates=20", "users.action_weights.view=0"]
    given = [one for setting in settings for one in ("--set", setting)]
    found = result_of(capsys, "--dir", run_dir, *given)
    assert (found["split"], found["past"], found["num_users"]) == ("test", ["train"], USERS)
    assert (found["past_actions"], found["future_actions"]) == (USERS * 8, USERS * 2)
    assert found["num_left_out"] == 1  # "new" did nothing before
    recall = {name: one["recall"]["mean"] for name, one in found["methods"].items()}
    # The last item finds its own interest, one of two; both clusters are drawn.
    assert recall["last_item"] == 0.5 and recall["pinnersage"] == 1
    assert found["methods"]["pinnersage"]["recall"]["lift"]["mean"] == 1
    assert found["methods"]["pinnersage"]["num_clusters"] == 2
    assert found["order"]["recall"]["pinnersage - last_item"]["low"] == 0.5
    written = json.loads((run_dir / "metrics" / "evaluate-users-test.json").read_text())
    assert written == found
    assert found["config"]["action_weights"] == {"view": 0}
    # For this time alone; and no trace but what was asked for.
    assert load_config("tiny", run_dir / "config.yaml").users.action_weights == {}
    assert [path.name for path in (run_dir / "users").iterdir()] == ["vectors"]
    drawn = sorted((run_dir / "report" / "users").iterdir())
    assert sorted(path for paths in found["pictures"].values() for path in paths) == [
        str(path) for path in drawn
    ]
    for path in drawn:
        assert np.asarray(Image.open(path).convert("L")).std() > 5


def test_views_count_unless_they_weigh_nothing(run_dir, capsys) -> None:
    found = result_of(capsys, "--dir", run_dir, "--no-pictures", "--threshold", "0.4")
    assert found["past_actions"] == USERS * 12 and "pictures" not in found
    assert found["methods"]["pinnersage"]["num_clusters"] == 3
    assert found["config"]["threshold"] == 0.4


def test_past_users_and_pictures_by_name(run_dir, capsys) -> None:
    past = ["--past", "train", "--past", "validation"]
    who = ["--user", "u3", "--user", "u1"]
    found = result_of(capsys, "--dir", run_dir, *past, *who)
    assert found["past_actions"] == USERS * 13 and list(found["pictures"]) == ["u3", "u1"]
    found = result_of(capsys, "--dir", run_dir, "--max-users", 2, "--split", "validation")
    assert (found["num_users"], found["future_actions"]) == (2, 2)
    assert found["methods"]["last_item"]["recall"]["mean"] == 1


def test_sweep_says_what_it_would_choose(run_dir, capsys) -> None:
    settings = ["--set", "users.num_candidates=20", "--set", "users.action_weights.view=0"]
    found = result_of(capsys, "--dir", run_dir, "--sweep", *settings)
    assert (found["split"], found["configured"]) == ("validation", 0.5)
    by_threshold = {one["threshold"]: one for one in found["thresholds"]}
    best = by_threshold[found["chosen"]]
    assert best["geometric_mean"] == max(one["geometric_mean"] for one in found["thresholds"])
    assert best["num_users"] == USERS and len(by_threshold) > 3
    written = json.loads((run_dir / "metrics" / "sweep-users-validation.json").read_text())
    assert written == found
    assert main(["evaluate-users", "--dir", str(run_dir), "--sweep"]) == 0
    table = capsys.readouterr().out
    assert "geometric mean" in table and " *" in table


def test_tables_for_people(run_dir, capsys) -> None:
    assert main(["evaluate-users", "--dir", str(run_dir), "--no-pictures"]) == 0
    out = capsys.readouterr().out
    for words in ("k-means, k = 5", "lambda 0.1", "1 drawn", "oracle", "PinnerSage: lambda 0.01"):
        assert words in out
    assert "By chance:" in out and "95% intervals" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "train"], "--split must be validation or test"),
        (["--past", "test"], "--past others than it"),
        (["--past", "yesterday"], "--past others than it"),
        (["--sweep", "--split", "test"], "may not see the test split"),
        (["--set", "training.epochs=3"], "changes the section `users` alone"),
        (["--set", "users.treshold=3"], "threshold"),
        (["--user", "nobody"], "Received: 'nobody'"),
        (["--set", "users.action_weights.click=0"], "Found: none"),
    ],
)
def test_what_is_refused(run_dir, capsys, arguments, message) -> None:
    assert main(["evaluate-users", "--dir", str(run_dir), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_tables_without_engagements(run_dir, tmp_path, capsys) -> None:
    (tmp_path / "tables" / "engagements.jsonl").unlink()
    assert main(["evaluate-users", "--dir", str(run_dir)]) == 2
    assert "must hold engagements" in capsys.readouterr().err
