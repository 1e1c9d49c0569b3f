"""Command lines of jobs: a switch is switched, the rest goes to Beam."""

import pytest

from beam_pipelines.options import parse, users_section

ALWAYS = ["--input", "in", "--output", "out"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [([], False), (["--store_ngram_ids"], True), (["--no-store_ngram_ids"], False)],
)
def test_a_switch_is_switched(given, expected) -> None:
    _, _, config, left = parse([*ALWAYS, *given, "--runner=DirectRunner"])
    assert config.store_ngram_ids is expected
    assert left == ["--runner=DirectRunner"]


def test_folders_are_a_list() -> None:
    _, _, config, left = parse([*ALWAYS, "--enrichments", "a", "b/c", "--runner=DirectRunner"])
    assert config.enrichments == ("a", "b/c") and left == ["--runner=DirectRunner"]
    assert parse(ALWAYS)[2].enrichments == ()


def test_the_users_section_may_be_empty(tmp_path) -> None:
    path = tmp_path / "users.yaml"
    path.write_text("# nothing yet\n")
    assert users_section(str(path)) == users_section(None)
    path.write_text("threshold: 2.5\n")
    assert users_section(str(path)).threshold == 2.5
