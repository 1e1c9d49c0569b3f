"""What the job makes of tiny tables: records, pairs, vocabularies by hand, manifests."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beam_pipelines.preprocess import preprocess
from tests.beam_pipelines.conftest import CONFIG
from tests.beam_pipelines.reading import all_bytes, read_records
from tests.beam_pipelines.tiny_tables import (
    ENGAGEMENTS,
    PINS,
    PRODUCTS,
    engagement,
    picture,
    write_tables,
)
from tfrs_sage.artefacts import file_sha256, read_manifest
from tfrs_sage.schema.config import PreprocessConfig
from tfrs_sage.text import NgramVocabulary
from tfrs_sage.vision import image_encoder

Run = tuple[Path, dict[str, Any]]


def test_catalogue_records(clean_run: Run) -> None:
    run, _ = clean_run
    products = {r["id"]: r for r in read_records(run / "catalogue", "product-*")}
    assert set(products) == {b"p1", b"p2", b"p3", b"p4"}
    assert products[b"p4"] == {"id": b"p4"}  # what is absent is not stored
    assert products[b"p1"]["title"] == b"Red sofa"
    images = np.frombuffer(products[b"p1"]["image_embeddings"], "<f2").reshape(-1, 256)
    colours = [picture((200, 30, 30)), picture((30, 30, 200))]
    np.testing.assert_allclose(images, image_encoder("classical").encode(colours), atol=1e-3)
    graph = np.frombuffer(products[b"p2"]["graph_embedding"], "<f2")
    assert graph.tolist() == [0.5, -1.0, 2.0]
    pins = read_records(run / "catalogue", "pin-*")
    assert pins == [{"id": b"i1", "title": b"Red room", "board_titles": b"rooms red things"}]
    # Texts of training searches and every query candidate; not the searches of the test split.
    queries = {r["id"]: r["text"] for r in read_records(run / "catalogue", "query-*")}
    assert queries == {text: text for text in (b"red sofa", b"a bed", b"red couch")}


def test_pairs_join_both_sides(clean_run: Run) -> None:
    run, summary = clean_run
    assert summary["tasks"] == {
        "pin/product/click": {"train": 1},
        "product/product/click": {"validation": 1},
        "search/product/click": {"train": 1, "test": 1},
        "search/product/save": {"train": 1},
        "search/query/click": {"train": 1},
    }
    examples = run / "examples"
    (pair,) = read_records(examples, "train/pin/product/click-*.tfrecord")
    assert pair == {
        "query/id": b"i1",
        "query/title": b"Red room",
        "query/board_titles": b"rooms red things",
        "candidate/id": b"p2",
        "candidate/title": b"Red bed",
        "candidate/graph_embedding": np.asarray([0.5, -1, 2], "<f2").tobytes(),
    }
    (pair,) = read_records(examples, "train/search/query/click-*.tfrecord")
    assert pair == {
        "query/id": b"red sofa",
        "query/text": b"red sofa",
        "candidate/id": b"red couch",
        "candidate/text": b"red couch",
    }
    (pair,) = read_records(examples, "test/search/product/click-*.tfrecord")
    assert (pair["query/id"], pair["candidate/title"]) == (b"unseen words", b"Blue sofa!")


def test_vocabulary_by_hand(clean_run: Run) -> None:
    # Texts: red sofa, ona, red bed, blue sofa!, red room, rooms red things (one text),
    # and the queries red sofa, a bed, red couch. Seen twice or more:
    #   red 6 (sofa, bed, room, things, query sofa, couch), sofa 3, bed 2; pair red#sofa 2.
    run, summary = clean_run
    vocabulary = run / "vocabulary"
    assert (vocabulary / "unigram.txt").read_text().split() == ["red", "sofa", "bed"]
    assert (vocabulary / "bigram.txt").read_text().split() == ["red#sofa"]
    # red: in all 6 texts with it; ed#: those, and the two of "bed" at the end. #re: 6.
    trigrams = (vocabulary / "char_trigram.txt").read_text().split("\n")
    assert trigrams[:3] == ["ed#", "#re", "red"]
    assert "d#s" in trigrams  # red sofa, twice
    assert "fa!" not in trigrams  # once only
    assert summary["vocabulary"]["unigram"] == 3
    assert NgramVocabulary(vocabulary)(["Red Sofa"]).to_list()[0][:3] == [1, 2, 4]
    pieces = (vocabulary / "wordpiece.txt").read_text().split("\n")
    assert pieces[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert {"red", "!"} <= set(pieces)


@pytest.mark.parametrize("room", ["examples", "catalogue"])
def test_manifest_is_what_is_there(clean_run: Run, room: str) -> None:
    run, _ = clean_run
    manifest = read_manifest(run / room)
    files = {
        p.relative_to(run / room).as_posix(): p
        for p in (run / room).rglob("*")
        if p.is_file() and p.name != "manifest.json"
    }
    assert set(manifest["files"]) == set(files)  # nothing hidden is left behind either
    for name, path in files.items():
        stated = manifest["files"][name]
        assert stated["bytes"] == path.stat().st_size
        assert stated["sha256"] == file_sha256(path)
        assert stated["records"] == len(read_records(path.parent, path.name))
    product = manifest["entities"]["product"]
    assert product == {
        "entity": "product",
        "texts": ["title", "brand"],
        "max_images": 2,
        "vectors": {"graph_embedding": 3},
        "count": 4,
        "ngram_vocabulary": None,
    }
    other = read_manifest(run / ("catalogue" if room == "examples" else "examples"))
    assert other["schema_hash"] == manifest["schema_hash"]


def test_every_row_is_accounted_for(clean_run: Run) -> None:
    _, summary = clean_run
    pairs = summary["pairs"]
    assert pairs["merged"] == pairs["user_rows"] == 1
    assert pairs["rows"] == len(ENGAGEMENTS) == sum(pairs.values()) - pairs["rows"]


@pytest.mark.integration
def test_two_processes_write_the_same_bytes(clean_run: Run, tmp_path: Path) -> None:
    run, _ = clean_run
    tables = run.parent / "tables"
    workers = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    preprocess(str(tables), str(tmp_path / "run"), CONFIG, workers)
    assert all_bytes(tmp_path / "run") == all_bytes(run)


def test_caps_and_shards(tmp_path: Path) -> None:
    # 40 candidates of one query and 30 queries of one candidate, capped to 10 and 5.
    products = [{"product_id": f"p{n}", "title": "x" * 50} for n in range(40)]
    newest = [f"2026-01-01T00:00:{n:02d}Z" for n in range(40)]
    rows = [
        engagement("search", "hot", f"p{n}", "train", timestamp=newest[n]) for n in range(40)
    ] + [engagement("search", f"q{n}", "p0", "train") for n in range(30)]
    tables = write_tables(tmp_path / "tables", products=products, engagements=rows)
    config = PreprocessConfig(
        max_pairs_per_query=10, max_pairs_per_candidate=5, shard_bytes=1024, wordpiece_size=200
    )
    summary = preprocess(str(tables), str(tmp_path / "run"), config, [])
    assert summary["pairs"]["capped_per_query"] == 30
    assert summary["pairs"]["capped_per_candidate"] == 25
    assert summary["pairs"]["examples"] == 15
    pairs = read_records(tmp_path / "run/examples", "train/search/product/click-*")
    hot = {p["candidate/id"] for p in pairs if p["query/id"] == b"hot"}
    assert hot == {f"p{n}".encode() for n in range(30, 40)}  # the newest
    files = read_manifest(tmp_path / "run/examples")["files"]
    assert len(files) > 1
    assert sum(f["bytes"] for f in files.values()) / len(files) <= 1024
    catalogue = [r["id"] for r in read_records(tmp_path / "run/catalogue", "product-*")]
    assert sorted(catalogue) == sorted(f"p{n}".encode() for n in range(40))
    assert catalogue != [f"p{n}".encode() for n in range(40)]  # shuffled


def test_split_by_time(tmp_path: Path) -> None:
    products = [{"product_id": "p"}]
    rows = [
        {**engagement("search", f"q{n}", "p", ""), "timestamp": f"2026-01-{n:02d}T00:00:00Z"}
        for n in range(1, 21)
    ]
    for row in rows:
        del row["split"]
    tables = write_tables(tmp_path / "tables", products=products, engagements=rows[::-1])
    config = PreprocessConfig(validation_share=0.2, test_share=0.1, wordpiece_size=200)
    preprocess(str(tables), str(tmp_path / "run"), config, [])
    found = {
        split: {
            r["query/id"].decode()
            for r in read_records(tmp_path / "run/examples", f"{split}/search/product/*")
        }
        for split in ("train", "validation", "test")
    }
    assert found["test"] == {"q19", "q20"}
    assert found["validation"] == {f"q{n}" for n in range(15, 19)}
    assert found["train"] == {f"q{n}" for n in range(1, 15)}


@pytest.mark.integration
def test_from_the_command_line(clean_run: Run, tmp_path: Path) -> None:
    import subprocess
    import sys

    run, _ = clean_run
    command = [sys.executable, "-m", "beam_pipelines.preprocess"]
    arguments = ["--input", str(run.parent / "tables"), "--output", str(tmp_path / "run")]
    own = ["--wordpiece_size=200", "--max_reject_share=0.5"]
    done = subprocess.run(command + arguments + own, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["pairs"]["examples"] == 6
    assert all_bytes(tmp_path / "run") == all_bytes(run)
    empty = tmp_path / "empty"
    write_tables(empty, pins=PINS)
    failed = subprocess.run(
        [*command, "--input", str(empty), "--output", str(tmp_path / "other")],
        capture_output=True,
        text=True,
    )
    assert failed.returncode == 2
    assert "must hold a products table. Found: pins" in failed.stderr


def test_without_engagements(tmp_path: Path) -> None:
    tables = write_tables(tmp_path / "tables", products=PRODUCTS)
    summary = preprocess(str(tables), str(tmp_path / "run"), CONFIG, [])
    assert summary["tasks"] == {}
    assert summary["entities"] == {"product": 4}
    assert read_manifest(tmp_path / "run/examples")["files"] == {}
