"""Enrichments in the records: joined where the row is empty, and without a pair's own query."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_pipelines.engaged_queries import engaged_queries
from beam_pipelines.engagements import NO_TIME, Pair
from beam_pipelines.enrichment_rows import SCHEMAS, finish_folder
from beam_pipelines.enrichments import LAG, without_own
from beam_pipelines.past_engagements import split_settings
from beam_pipelines.preprocess import preprocess
from tests.beam_pipelines.conftest import CONFIG
from tests.beam_pipelines.reading import all_bytes, read_records
from tests.beam_pipelines.tiny_tables import engagement, write_tables
from tfrs_sage.artefacts import read_manifest
from tfrs_sage.errors import InputError
from tfrs_sage.schema.features import EntitySpec
from tfrs_sage.text import NgramVocabulary
from tfrs_sage.towers.features import EntityFeatures, parse_records

import tensorflow as tf  # isort: skip

PRODUCTS = [
    {"product_id": "p1", "title": "sofa"},
    {"product_id": "p2", "title": "sofa bed", "caption": "its own words"},
]
PINS = [{"pin_id": "i1", "title": "room"}]


def enrichment(folder: Path, field: str, *rows: dict[str, Any], **made_with: Any) -> str:
    """A folder as a job writes it."""
    folder.mkdir(parents=True)
    table = pa.Table.from_pylist(list(rows), SCHEMAS[field])
    pq.write_table(table, folder / "part-00000-of-00001.parquet")
    finish_folder(folder, field, made_with)
    return str(folder)


def run_with(tmp_path: Path, tables: Path, *folders: str, **settings: Any) -> dict[str, Any]:
    config = CONFIG.model_copy(update={"enrichments": folders, "min_count": 1, **settings})
    return preprocess(str(tables), str(tmp_path / "run"), config, [])


def records_of(run: Path, entity: str) -> dict[bytes, dict[str, bytes]]:
    return {record["id"]: record for record in read_records(run, f"catalogue/{entity}-*")}


def test_texts_join_the_rows_that_lack_them(tmp_path: Path) -> None:
    tables = write_tables(
        tmp_path / "t",
        products=PRODUCTS,
        pins=PINS,
        engagements=[engagement("pin", "i1", "p1", "train")],
    )
    captions = enrichment(
        tmp_path / "captions",
        "caption",
        {"entity": "product", "id": "p1", "caption": "a red sofa"},
        {"entity": "product", "id": "p2", "caption": "not needed"},
        {"entity": "pin", "id": "i1", "caption": "a room"},
        {"entity": "pin", "id": "i99", "caption": "of nobody"},
    )
    titles = enrichment(
        tmp_path / "titles",
        "board_titles",
        {"entity": "pin", "id": "i1", "board_titles": ["living room", "ideas"], "counts": [2, 1]},
        {"entity": "product", "id": "p1", "board_titles": [], "counts": []},
    )
    summary = run_with(tmp_path, tables, captions, titles)
    products, pins = (records_of(tmp_path / "run", entity) for entity in ("product", "pin"))
    assert products[b"p1"] == {"id": b"p1", "title": b"sofa", "caption": b"a red sofa"}
    assert products[b"p2"]["caption"] == b"its own words"
    assert pins[b"i1"]["caption"] == b"a room"
    assert pins[b"i1"]["board_titles"] == b"living room ideas"
    (example,) = read_records(tmp_path / "run", "examples/train/*/*/*")
    assert example["query/board_titles"] == b"living room ideas"
    assert example["candidate/caption"] == b"a red sofa"
    entities = read_manifest(tmp_path / "run" / "examples")["entities"]
    assert entities["product"]["texts"] == ["title", "caption"]
    assert entities["pin"]["texts"] == ["title", "caption", "board_titles"]
    assert summary["enrichments"] == {
        "board_titles/joined": 1,
        "caption/joined": 2,
        "caption/not_needed": 1,
        "unknown": 1,
    }
    # The words are in the vocabulary: a tower reads them.
    assert "living" in (tmp_path / "run/vocabulary/unigram.txt").read_text().split()


def test_without_enrichments_records_are_as_before(clean_run: Any, tmp_path: Path) -> None:
    tables = clean_run[0].parent / "tables"
    folder = enrichment(
        tmp_path / "c", "caption", {"entity": "product", "id": "p99", "caption": "x"}
    )
    config = CONFIG.model_copy(update={"enrichments": (folder,)})
    preprocess(str(tables), str(tmp_path / "run"), config, [])
    for room in ("vocabulary", "catalogue", "examples"):
        before, after = (all_bytes(run / room) for run in (clean_run[0], tmp_path / "run"))
        assert {name: data for name, data in before.items() if name != "manifest.json"} == {
            name: data for name, data in after.items() if name != "manifest.json"
        }


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("absent", "must hold a manifest.json"),
        ("other", "one folder each of caption, board_titles, engaged_queries. Found: 'title'"),
        ("again", "Found: 'caption' in .*again and in .*captions"),
        ("narrow", "must have the columns entity, id and board_titles. Found none of board_titles"),
    ],
)
def test_folders_that_are_no_enrichments(tmp_path: Path, folder: str, message: str) -> None:
    tables = write_tables(tmp_path / "t", products=PRODUCTS)
    row = {"entity": "product", "id": "p1", "caption": "x"}
    first = enrichment(tmp_path / "captions", "caption", row)
    enrichment(tmp_path / "again", "caption", row)
    for name, field in (("other", "title"), ("narrow", "board_titles")):
        enrichment(tmp_path / name, "caption", row)
        manifest = tmp_path / name / "manifest.json"
        manifest.write_text(
            manifest.read_text().replace('"field": "caption"', f'"field": "{field}"')
        )
    with pytest.raises(InputError, match=message):
        run_with(tmp_path, tables, first, str(tmp_path / folder))


def a_pair(query: str, time: int, task: str = "search/product/click", split: str = "train") -> Pair:
    return Pair(task, split, query, "p1", time, "f", 1)


def test_a_pair_sees_all_but_its_own_query() -> None:
    day = LAG
    history = (("old", 1 * day), ("own", 5 * day), ("later", 9 * day), ("timeless", NO_TIME))
    others = ["old", "later", "timeless"]
    assert without_own(history, a_pair("own", 5 * day)) == others
    # The query led here a day before this pair: that is the past, and worth knowing.
    assert without_own(history, a_pair("own", 6 * day)) == ["old", "own", "later", "timeless"]
    assert without_own(history, a_pair("own", 6 * day - 1)) == others
    assert without_own(history, a_pair("Timeless ", 20 * day)) == ["old", "own", "later"]
    # Without a time nothing is known to be earlier.
    assert without_own(history, a_pair(" OWN", NO_TIME)) == others
    looked = a_pair("own", NO_TIME, "pin/product/click")  # a pin of that name is no query text
    assert without_own(history, looked) == ["old", "own", "later", "timeless"]


@pytest.mark.parametrize("store_ngram_ids", [False, True])
def test_a_training_pair_does_not_see_itself(tmp_path: Path, store_ngram_ids: bool) -> None:
    def searched(query: str, day: int, split: str) -> dict[str, Any]:
        return engagement("search", query, "p1", split, timestamp=f"2026-01-{day:02}T00:00:00Z")

    tables = write_tables(
        tmp_path / "t",
        products=PRODUCTS,
        pins=PINS,
        engagements=[
            searched("red sofa", 1, "train"),
            searched("couch", 3, "train"),
            searched("red sofa", 5, "train"),
            searched("big couch", 6, "train") | {"action": "save"},
            searched("tested couch", 8, "test"),
            engagement("pin", "i1", "p1", "train", timestamp="2026-01-02T00:00:00Z"),
        ],
    )
    engaged_queries(str(tables), tmp_path / "out", CONFIG)
    run_with(
        tmp_path, tables, str(tmp_path / "out/engaged_queries"), store_ngram_ids=store_ngram_ids
    )
    seen = {
        record["query/id"].decode(): record.get("candidate/engaged_queries", b"").decode()
        for record in read_records(tmp_path / "run", "examples/*/*/*/*")
    }
    everything = "red sofa big couch couch"
    assert seen == {
        "red sofa": everything,  # of the 5th: led here before, on the 1st
        "couch": "red sofa big couch",
        "big couch": "red sofa couch",
        "tested couch": everything,
        "i1": everything,
    }
    product = records_of(tmp_path / "run", "product")[b"p1"]
    assert product["engaged_queries"].decode() == everything
    if store_ngram_ids:  # the ids follow the text of the pair
        spec = EntitySpec.from_json(read_manifest(tmp_path / "run/examples")["entities"]["product"])
        files = [str(path) for path in tmp_path.glob("run/examples/train/search/*/*")]
        (serialized,) = tf.data.TFRecordDataset(files).batch(100)
        features = EntityFeatures(spec, NgramVocabulary(tmp_path / "run" / "vocabulary"))
        stored, looked_up = (
            features(parse_records(serialized, spec, "candidate/", stored_ngrams=flag))
            for flag in (True, False)
        )
        assert stored["text_lengths"].shape == (3, 3)  # title, caption, engaged queries
        for name in ("text_tokens", "text_lengths"):
            assert stored[name].numpy().tolist() == looked_up[name].numpy().tolist()


def test_a_column_of_queries_stays_as_it_is(tmp_path: Path) -> None:
    products = [{"product_id": "p1", "engaged_queries": ["red sofa", "couch"]}]
    tables = write_tables(
        tmp_path / "t",
        products=products,
        engagements=[engagement("search", "red sofa", "p1", "train")],
    )
    folder = enrichment(
        tmp_path / "e",
        "engaged_queries",
        {"entity": "product", "id": "p1", "engaged_queries": ["red sofa"], "counts": [1]},
        splits=split_settings(CONFIG),
    )
    run_with(tmp_path, tables, folder)
    (example,) = read_records(tmp_path / "run", "examples/train/*/*/*")
    assert example["candidate/engaged_queries"] == b"red sofa couch"
