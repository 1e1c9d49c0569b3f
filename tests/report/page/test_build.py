"""A run without pictures, users, training or figures has a report too; nobody's text is code."""

import pytest

from tests.report.shop_run import PAIRS, SEARCH, write_shop
from tfrs_sage.errors import InputError
from tfrs_sage.report.page.build import write_report

EVIL = "<img src=x onerror=alert(1)>"


def test_a_run_that_was_only_preprocessed(tmp_path) -> None:
    tests = [*PAIRS[SEARCH]["test"], (f"RED {EVIL}", "p01")]
    train = [*PAIRS[SEARCH]["train"], (f"red {EVIL}", "p01")]
    write_shop(tmp_path, {**PAIRS, SEARCH: {"train": train, "test": tests}})
    found = write_report(tmp_path, tmp_path / "saved_models")
    shown = {name for name, why in found["sections"].items() if why == "shown"}
    assert shown == {"data", "checks"}
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    for command in ("train", "evaluate", "ablate", "embed", "index", "cluster-users"):
        assert f"<code>tfrs-sage {command} --dir {tmp_path}" in page
    # The query is told of as an example of a duplicate, as text.
    assert "onerror=alert(1)&gt;" in page and EVIL not in page
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page
    card = (tmp_path / "report" / "model_card.md").read_text(encoding="utf-8")
    assert "The test split was not evaluated." in card and "3 of 12 products" in card


def test_wrong_splits_and_runs_are_refused(tmp_path) -> None:
    with pytest.raises(InputError, match=r"--split must be validation or test.*'train'"):
        write_report(tmp_path, tmp_path, split="train")
    with pytest.raises(InputError, match=r"must hold a manifest.json"):
        write_report(tmp_path, tmp_path)
