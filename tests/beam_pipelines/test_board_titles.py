"""Board titles: counted once a board, normalised, the most frequent, none from the future."""

import json
from pathlib import Path

import pytest

from beam_pipelines.board_titles import board_titles, run
from tests.beam_pipelines.enriched import enrichment_rows
from tests.beam_pipelines.tiny_tables import engagement, write_tables
from tfrs_sage.artefacts import read_manifest
from tfrs_sage.errors import InputError
from tfrs_sage.schema.config import PreprocessConfig

BOARDS = [
    {"board_id": "b1", "title": "Living  Room"},
    {"board_id": "b2", "title": "ＬＩＶＩＮＧ room"},  # the same, in full-width letters
    {"board_id": "b3", "title": "red things"},
    {"board_id": "b4", "title": "Café"},
    {"board_id": "b5", "title": "  "},
    {"board_id": "b6"},
]
PINS = [
    {"pin_id": "i1", "product_id": "p1"},
    {"pin_id": "i2", "product_id": "p1"},
    {"pin_id": "i3"},
    {"pin_id": "i4"},
]
SAVES = [("b3", "i1"), ("b1", "i1"), ("b2", "i1"), ("b4", "i1"), ("b5", "i1"), ("b6", "i1"),
         ("b1", "i2"), ("b3", "i2"), ("b6", "i3")]  # fmt: skip
BOARD_PINS = [{"board_id": board, "pin_id": pin} for board, pin in SAVES]
PRODUCTS = [{"product_id": "p1"}]


def test_titles_are_counted_by_board(tmp_path: Path) -> None:
    # Saving twice to one board is one board.
    saves = [*BOARD_PINS, {"board_id": "b3", "pin_id": "i1"}]
    tables = write_tables(
        tmp_path / "t", products=PRODUCTS, pins=PINS, boards=BOARDS, board_pins=saves
    )
    summary = board_titles(str(tables), tmp_path / "out")
    rows = enrichment_rows(tmp_path / "out" / "board_titles")
    # By hand: two living rooms; then by the alphabet. Empty titles are no titles.
    assert rows["pin", "i1"]["board_titles"] == ["living room", "café", "red things"]
    assert rows["pin", "i1"]["counts"] == [2, 1, 1]
    # b1 and b3 hold both pins of p1: still one board each.
    assert rows["product", "p1"]["board_titles"] == ["living room", "café", "red things"]
    assert rows["product", "p1"]["counts"] == [2, 1, 1]
    assert set(rows) == {("pin", "i1"), ("pin", "i2"), ("product", "p1")}
    assert summary["entities"] == {"pin": 2, "product": 1}


def test_the_most_frequent_are_kept(tmp_path: Path) -> None:
    boards = [
        {"board_id": f"b{n:02}", "title": f"title {n // 2 if n < 4 else n}"} for n in range(16)
    ]
    saves = [{"board_id": board["board_id"], "pin_id": "i1"} for board in boards]
    tables = write_tables(tmp_path / "t", boards=boards, board_pins=saves)
    board_titles(str(tables), tmp_path / "out")
    (row,) = enrichment_rows(tmp_path / "out" / "board_titles").values()
    assert row["counts"] == [2, 2] + [1] * 8
    rest = sorted(f"title {n}" for n in range(4, 16))[:8]
    assert row["board_titles"] == ["title 0", "title 1", *rest]


def test_saves_after_the_training_period_are_not_known(tmp_path: Path) -> None:
    def save(board: str, day: int) -> dict[str, str]:
        return {"board_id": board, "pin_id": "i1", "timestamp": f"2026-01-{day:02}T00:00:00Z"}

    # Ten days, the last for validation and test: training ends on the 8th.
    clicks = [
        engagement("search", "q", "p1", None, timestamp=f"2026-01-{day:02}T00:00:00Z")
        for day in range(1, 11)
    ]
    tables = write_tables(
        tmp_path / "t",
        products=PRODUCTS,
        boards=BOARDS,
        board_pins=[save("b1", 2), save("b3", 8), save("b4", 9)],
        engagements=clicks,
    )
    board_titles(str(tables), tmp_path / "out")
    (row,) = enrichment_rows(tmp_path / "out" / "board_titles").values()
    assert row["board_titles"] == ["living room", "red things"]
    assert read_manifest(tmp_path / "out" / "board_titles")["later_saves"] == 1
    # An end of one's own; and with nothing held out everything is known.
    arguments = ["--input", str(tables), "--output", str(tmp_path / "out"), "--until", "2026-01-08"]
    assert run(arguments)["texts"] == 1
    config = PreprocessConfig(validation_share=0, test_share=0)
    assert board_titles(str(tables), tmp_path / "out", config)["texts"] == 3


def test_an_unknown_board_is_rejected(tmp_path: Path) -> None:
    saves = [*BOARD_PINS, {"board_id": "b99", "pin_id": "i1"}]
    tables = write_tables(tmp_path / "t", boards=BOARDS, board_pins=saves)
    with pytest.raises(InputError, match=r"table board_pins may be rejected. Found: 1 of 10"):
        board_titles(str(tables), tmp_path / "out")
    assert not (tmp_path / "out" / "board_titles").exists()
    (line,) = (tmp_path / "out/rejects/board_titles/board_pins.jsonl").read_text().splitlines()
    reject = json.loads(line)
    assert (reject["row"], reject["column"], reject["found"]) == (10, "board_id", "'b99'")
    config = PreprocessConfig(max_reject_share=0.2)
    assert board_titles(str(tables), tmp_path / "out", config)["rejected"]["board_pins"] == 1


def test_the_tables_must_be_there(tmp_path: Path) -> None:
    tables = write_tables(tmp_path / "t", products=PRODUCTS, boards=BOARDS)
    with pytest.raises(InputError, match=r"board_titles needs the table board_pins. Found: boards"):
        board_titles(str(tables), tmp_path / "out")
