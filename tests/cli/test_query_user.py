"""`tfrs-sage query --user`: clusters and items of a run folder, without a server."""

import json

import pytest

from tests.serving.user_run import make_user_run
from tests.users.planted import LIKED, axis_of
from tfrs_sage.cli.main import main


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return str(make_user_run(tmp_path_factory.mktemp("run")))


def test_clusters_and_items_name_their_medoids(run, capsys) -> None:
    asked = ["query", "--dir", run, "--user", "u", "-k", "6", "--seed", "1", "--json"]
    assert main(asked) == 0
    text = capsys.readouterr().out
    found = json.loads(text)
    assert (found["user"], found["source"], found["num_acted_on"]) == ("u", "medoids", len(LIKED))
    assert [(axis_of(c["medoid_id"]), c["size"], c["drawn"]) for c in found["clusters"]] == [
        ("0", 4, True),
        ("1", 2, True),
    ]
    for one in found["clusters"]:
        assert one["title"] == f"title of {one['medoid_id']}"
        assert one["importance"] == one["size"]  # no action is older than the batch
    assert len(found["answers"]) == 6
    for one in found["answers"]:
        assert one["title"] == f"title of {one['product_id']}"
        assert axis_of(one["product_id"]) == axis_of(one["medoid_id"])
    assert main(asked) == 0
    assert capsys.readouterr().out == text


def test_the_tables_say_why(run, capsys) -> None:
    assert main(["query", "--dir", run, "--user", "x", "-k", "3"]) == 0
    text = capsys.readouterr().out
    assert "clusters of user x" in text and "1970-04-11" in text
    assert text.count("3.0 title of 3.0") == 3  # each item because of the only medoid
    assert "Left out: 1 that the user has acted on, 0 near-duplicates of these." in text


def test_an_unknown_user_gets_what_is_popular_and_is_told_so(run, capsys) -> None:
    assert main(["query", "--dir", run, "--user", "nobody", "-k", "2"]) == 0
    text = capsys.readouterr().out
    assert "User nobody has no clusters: unknown or new." in text
    assert "the most popular items" in text and "title of 3.0" in text
    assert main(["query", "--dir", run, "--user", "nobody", "-k", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["source"], found["clusters"]) == ("popular", [])
    assert [(one["product_id"], one["medoid_id"]) for one in found["answers"]] == [
        ("3.0", None),
        ("3.1", None),
    ]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ([], "a text, --product ID or --user ID, one of them"),
        (["sofa", "--user", "u"], "a text, --product ID or --user ID, one of them"),
        (["sofa", "--seed", "1"], "--seed and --store are for --user"),
        (["--user", "u", "-k", "34"], "`k` must be 1 to 33"),
        (["--user", "u", "--store", "file.db"], "sqlite:///path or redis://host"),
    ],
)
def test_bad_usage_ends_with_2(run, options, text, capsys) -> None:
    assert main(["query", "--dir", run, *options]) == 2
    assert text in capsys.readouterr().err
