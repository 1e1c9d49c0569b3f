from pathlib import Path

from tfrs_sage.cli.main import VERBS
from tfrs_sage.cli.reference import reference

DOCS = Path(__file__).parents[2] / "docs" / "cli.md"


def test_docs_are_what_the_help_says() -> None:
    stale = "docs/cli.md is stale: run python -m tfrs_sage.cli.reference > docs/cli.md"
    assert DOCS.read_text(encoding="utf-8") == reference(), stale


def test_every_verb_is_there() -> None:
    text = reference()
    assert all(f"## tfrs-sage {verb.replace('_', '-')}" in text for verb in VERBS)
