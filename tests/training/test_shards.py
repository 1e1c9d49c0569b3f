"""Every fault of a shard is told before training: file, record, field, found, expected."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from beam_pipelines.records import serialize
from tests.training.small_run import (
    config,
    fields_of,
    records_of,
    rewrite,
    small_assembly,
    small_run,
    write_mined,
)
from tfrs_sage.artefacts import read_manifest, write_json
from tfrs_sage.errors import InputError
from tfrs_sage.training.shards import check_shards

import tensorflow as tf  # isort: skip

HARD = config().training.model_copy(update={"hard_negatives": True})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    shutil.copytree(small_run(), tmp_path / "run")
    return tmp_path / "run"


def check(run: Path, training=None):
    return check_shards(run, small_assembly(), training or config().training)


def first(run: Path, pattern: str = "examples/train/search/product/click-*") -> Path:
    return min(run.glob(pattern))


def refused(run: Path, match: str, training=None) -> None:
    with pytest.raises(InputError, match=f"(?s){match}"):
        check(run, training)


def change(path: Path, record: int, **fields: bytes) -> None:
    """Sets fields of one record (from 1); the manifest is changed with it."""
    records = records_of(path)
    changed = fields_of(records[record - 1]) | {k.replace("__", "/"): v for k, v in fields.items()}
    records[record - 1] = serialize(tuple(sorted(changed.items())))
    rewrite(path, records)


def test_a_whole_run_passes(run: Path) -> None:
    counts = check(run)
    files = read_manifest(run / "examples")["files"]
    train = {name: file for name, file in files.items() if name.startswith("train/")}
    products = [
        file
        for name, file in read_manifest(run / "catalogue")["files"].items()
        if name.startswith("product-")
    ]
    assert counts["files"] == len(train) + len(products) > 4
    assert counts["records"] == 80 + 40
    write_mined(run)
    assert check(run, HARD)["records"] == 80 + 40


def test_a_file_that_breaks_off(run: Path) -> None:
    path = first(run)
    content = path.read_bytes()
    path.write_bytes(content[:-5])
    last = len(records_of(first(small_run())))
    refused(
        run, f"click-00000-of-.*, record {last} must have.*Found: the end of the file in it.*Run"
    )


def test_a_file_that_ends_early_between_records(run: Path) -> None:
    path = first(run)
    records = records_of(path)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records[:-1]:
            writer.write(record)
    refused(run, f"must have {len(records)} records. Found: {len(records) - 1} records")


def test_an_extra_record(run: Path) -> None:
    path = first(run)
    records = records_of(path)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in [*records, records[0]]:
            writer.write(record)
    refused(run, f"must have {len(records)} records. Found: {len(records) + 1} records")


def test_a_flipped_byte(run: Path) -> None:
    path = first(run)
    records = records_of(path)
    content = bytearray(path.read_bytes())
    content[len(records[0]) + 16 + 12 + 40] ^= 1  # in the payload of the second record
    path.write_bytes(content)
    refused(run, "click-00000-of-.*, record 2 must have.*Found: another checksum")


def test_other_records_of_the_same_size_and_number(run: Path) -> None:
    path = first(run)
    records = records_of(path)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records[::-1]:
            writer.write(record)
    refused(run, "must have .* bytes of SHA-256 .*Found: .* bytes of SHA-256")


def test_a_missing_shard_and_one_too_many(run: Path) -> None:
    path = first(run)
    moved = path.rename(path.with_name("click-00007-of-00008.tfrecord"))
    refused(run, f"{path.name} must have .* records. Found: no such file. Run preprocess again")
    shutil.copy(moved, path)
    refused(run, f"{moved.name} must have a place in the manifest. Found: none")


def test_a_vector_of_the_wrong_width(run: Path) -> None:
    change(first(run), 3, candidate__graph_embedding=bytes(10))
    message = "record 3, field candidate/graph_embedding must have 12 bytes .6 float16. or none"
    refused(run, f"click-00000-of-.*, {message}. Found: 10 bytes")


@pytest.mark.parametrize("size", [511, 4 * 512])
def test_images_that_are_cut_or_too_many(run: Path, size: int) -> None:
    change(first(run, "catalogue/product-*"), 2, image_embeddings=bytes(size))
    refused(run, f"record 2, field image_embeddings must have at most 3 .*Found: {size} bytes")


def test_ids_beyond_the_vocabulary(run: Path) -> None:
    sizes = read_manifest(run / "vocabulary")["sizes"]
    size = 1 + sum(sizes[kind] for kind in ("unigram", "bigram", "char_trigram"))
    path, name = first(run), "candidate__title__ngrams"
    for value in (size, 0, 2**32 - 1):
        change(path, 4, **{name: np.array([1, value], "<u4").tobytes()})
        refused(
            run, f"record 4, field candidate/title/ngrams .* 1 to {size - 1}. Found: id {value}"
        )
    change(path, 4, **{name: np.array([1, size - 1], "<u4").tobytes()})
    check(run)
    change(path, 4, **{name: bytes(7)})
    refused(run, "record 4, field candidate/title/ngrams must have ids of 4 bytes.*Found: 7 bytes")


def test_records_that_do_not_parse(run: Path) -> None:
    path = first(run)
    rewrite(path, [*records_of(path)[:4], b"\xff\xff"])
    refused(run, "record 5 must have a tf.train.Example. Found: other bytes")
    feature = tf.train.Feature(int64_list=tf.train.Int64List(value=[1]))
    numbers = tf.train.Example(features=tf.train.Features(feature={"query/id": feature}))
    rewrite(path, [*records_of(path)[:4], numbers.SerializeToString()])
    refused(run, "record 5, field query/id must have one bytes value. Found: another type")


def test_a_pair_without_an_id(run: Path) -> None:
    change(first(run), 1, query__id=b"")
    refused(run, "record 1, field query/id must have an id. Found: 0 bytes")


def test_files_of_another_vocabulary(run: Path) -> None:
    words = run / "vocabulary" / "unigram.txt"
    words.write_text(words.read_text().replace("sofa", "soda"))
    refused(run, "vocabulary does not fit what reads it: unigram.txt is")
    manifest = read_manifest(run / "vocabulary")
    write_json(run / "vocabulary/manifest.json", {**manifest, "ngram_vocabulary": "other"})
    refused(run, "examples does not fit what reads it: ngram_vocabulary is .*, needed 'other'")


def test_rooms_that_do_not_belong_together(run: Path) -> None:
    manifest = read_manifest(run / "catalogue")
    write_json(run / "catalogue/manifest.json", {**manifest, "schema_hash": "other"})
    refused(run, "catalogue does not fit what reads it: schema_hash is 'other'")


def test_mined_pairs_of_other_examples(run: Path) -> None:
    write_mined(run)
    path = first(run, "mined/search/product/click-*")
    change(path, 2, negative__image_embeddings=bytes(100))
    refused(run, "mined/.*record 2, field negative/image_embeddings .*mine-negatives --dir", HARD)
    manifest = read_manifest(run / "mined")
    write_json(run / "mined/manifest.json", {**manifest, "examples": "other"})
    refused(run, "mined does not fit what reads it: examples is 'other'", HARD)
