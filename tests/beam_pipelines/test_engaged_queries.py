"""Engaged queries: counted from the train split alone, within two years, none from the future."""

import datetime
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.engaged_queries import engaged_queries, run
from beam_pipelines.preprocess import preprocess
from tests.beam_pipelines.conftest import CONFIG
from tests.beam_pipelines.enriched import enrichment_rows
from tests.beam_pipelines.reading import read_records
from tests.beam_pipelines.tiny_tables import engagement, write_tables
from tfrs_sage.schema.config import PreprocessConfig

PRODUCTS = [{"product_id": "p1", "title": "sofa"}, {"product_id": "p2", "title": "bed"}]
PINS = [{"pin_id": "i1", "title": "room"}]


def day(text: str) -> str:
    return f"{text}T12:00:00Z"


def searched(query: str, candidate: str, split: str | None, **others: Any) -> dict[str, Any]:
    kind = "pin" if candidate.startswith("i") else "product"
    return engagement("search", query, candidate, split, candidate_type=kind, **others)


def texts_of(folder: Path, entity: str, identifier: str) -> dict[str, int]:
    row = enrichment_rows(folder / "engaged_queries")[entity, identifier]
    return dict(zip(row["engaged_queries"], row["counts"], strict=True))


def test_counts_of_the_train_split(tmp_path: Path) -> None:
    rows = [
        searched("Red  Sofa", "p1", "train", timestamp=day("2025-03-02")),
        searched("red sofa", "p1", "train", timestamp=day("2025-03-01"), action="save"),
        searched("couch", "p1", "train", timestamp=day("2025-04-01")),
        searched("a sofa", "p1", "train"),  # no time: known, since it is of the train split
        searched("cosy room", "i1", "train"),
        engagement("pin", "i1", "p1", "train"),
        engagement("user", "u1", "p1", "train"),
        searched("red sofa", "red couch", "train") | {"candidate_type": "query"},
        searched("only later", "p1", "validation", timestamp=day("2025-03-01")),
        searched("only tested", "p1", "test", timestamp=day("2025-03-01")),
    ]
    tables = write_tables(tmp_path / "t", products=PRODUCTS, pins=PINS, engagements=rows)
    summary = engaged_queries(str(tables), tmp_path / "out")
    found = enrichment_rows(tmp_path / "out" / "engaged_queries")
    assert set(found) == {("product", "p1"), ("pin", "i1")}
    sofa = found["product", "p1"]
    assert sofa["engaged_queries"] == ["red sofa", "a sofa", "couch"]
    assert sofa["counts"] == [2, 1, 1]
    noon = [
        None if date is None else datetime.datetime(2025, *date, 12, tzinfo=datetime.UTC)
        for date in ((3, 1), None, (4, 1))
    ]
    assert sofa["first_seen"] == noon
    assert texts_of(tmp_path / "out", "pin", "i1") == {"cosy room": 1}
    assert (summary["engagements"], summary["texts"]) == (5, 4)


def test_two_years_before_the_end_of_the_training_period(tmp_path: Path) -> None:
    rows = [
        searched("long ago", "p1", "train", timestamp=day("2023-12-31")),
        searched("just in time", "p1", "train", timestamp=day("2024-01-02")),
        engagement("pin", "i1", "p1", "train", timestamp=day("2026-01-01")),
        searched("tested", "p1", "test", timestamp=day("2029-01-01")),  # no end of training
    ]
    tables = write_tables(tmp_path / "t", products=PRODUCTS, pins=PINS, engagements=rows)
    summary = engaged_queries(str(tables), tmp_path / "out")
    assert texts_of(tmp_path / "out", "product", "p1") == {"just in time": 1}
    assert summary["older_engagements"] == 1
    arguments = ["--input", str(tables), "--output", str(tmp_path / "out")]
    assert run([*arguments, "--until", "2024-01-02"])["texts"] == 1
    assert texts_of(tmp_path / "out", "product", "p1") == {"long ago": 1}
    run([*arguments, "--window_days=3000", "--most=1"])
    assert texts_of(tmp_path / "out", "product", "p1") == {"just in time": 1}


def test_twenty_are_kept_equal_ones_by_the_alphabet(tmp_path: Path) -> None:
    rows = [searched(f"query {n:02}", "p1", "train") for n in range(30)]
    rows += [searched("query 29", "p1", "train")]
    tables = write_tables(tmp_path / "t", products=PRODUCTS, engagements=rows)
    engaged_queries(str(tables), tmp_path / "out")
    expected = {"query 29": 2, **{f"query {n:02}": 1 for n in range(19)}}
    assert texts_of(tmp_path / "out", "product", "p1") == expected


@pytest.mark.parametrize("how", ["stated", "time", "hash"])
def test_no_future_leaks(tmp_path: Path, how: str) -> None:
    """Every query occurs in one split only: those of validation and test are nowhere."""
    config = PreprocessConfig(
        seed=3, validation_share=0.2, test_share=0.2, min_count=1, wordpiece_size=200
    )
    rows = []
    for number in range(40):
        query = f"unique{number:02}"
        split, others = None, {}
        if how == "stated":
            split = ("train", "validation", "test")[number % 3]
        elif how == "time":
            others = {"timestamp": f"2026-01-01T{number // 2:02}:{number % 2 * 30:02}:00Z"}
        rows.append(searched(query, f"p{1 + number % 2}", split, **others))
        rows.append(searched(query, "i1", split, **others))
    tables = write_tables(tmp_path / "t", products=PRODUCTS, pins=PINS, engagements=rows)
    engaged_queries(str(tables), tmp_path / "out", config)
    known = {
        query
        for row in enrichment_rows(tmp_path / "out" / "engaged_queries").values()
        for query in row["engaged_queries"]
    }
    enriched = config.model_copy(
        update={"enrichments": (str(tmp_path / "out" / "engaged_queries"),)}
    )
    preprocess(str(tables), str(tmp_path / "run"), enriched, [])
    by_split = {
        split: {
            r["query/id"].decode()
            for r in read_records(tmp_path / "run", f"examples/{split}/search/*/*")
        }
        for split in ("train", "validation", "test")
    }
    assert len(by_split["validation"]) >= 4 and len(by_split["test"]) >= 4
    assert sum(map(len, by_split.values())) == 40
    # The products, with half of the queries each, know every query of the train split.
    assert known == by_split["train"]
    everything = b" ".join(
        value
        for pattern in ("catalogue/p*", "examples/*/*/*/*")
        for record in read_records(tmp_path / "run", pattern)
        for name, value in record.items()
        if name.endswith("engaged_queries")
    ).decode()
    assert "unique" in everything
    for query in by_split["validation"] | by_split["test"]:
        assert query not in everything


def test_preprocess_refuses_other_splits(tmp_path: Path) -> None:
    tables = write_tables(
        tmp_path / "t", products=PRODUCTS, engagements=[searched("q", "p1", "train")]
    )
    engaged_queries(str(tables), tmp_path / "out", PreprocessConfig(seed=1))
    config = CONFIG.model_copy(update={"enrichments": (str(tmp_path / "out/engaged_queries"),)})
    with pytest.raises(ValueError, match="seed is 1, needed 0"):
        preprocess(str(tables), str(tmp_path / "run"), config, [])
