"""Training batches: one fixed stream, however it is started and divided."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.training.small_run import (
    CLICK,
    SAVE,
    config,
    fields_of,
    num_pairs,
    records_of,
    small_assembly,
    small_run,
    write_mined,
)
from tfrs_sage.artefacts import read_manifest, write_json
from tfrs_sage.errors import InputError
from tfrs_sage.towers.features import concatenate_features, id_fingerprint
from tfrs_sage.training.config import TaskConfig
from tfrs_sage.training.input_pipeline import sub_batch_sizes, training_batches

import tensorflow as tf  # isort: skip


def take(count: int, run: Path | None = None, assembly=None, start=0, changes=None, **others):
    run = run or small_run()
    training = config().training.model_copy(update=changes or {})
    batches = training_batches(
        run, assembly or small_assembly(), training, num_pairs(run), start, **others
    )
    return list(batches.take(count).as_numpy_iterator())


def assert_same(left, right) -> None:
    tf.nest.map_structure(np.testing.assert_array_equal, left, right)


def rows(batch) -> dict[str, np.ndarray]:
    """What says which records a batch holds, by task or entity."""
    ids = {name: pairs["candidate_id"] for name, pairs in batch["pairs"].items()}
    return ids | {entity: part["id"] for entity, part in batch["random"].items()}


def test_a_batch_holds_the_pairs_that_were_written() -> None:
    sizes = {CLICK: 15, SAVE: 9}  # 24 in the ratio of the roots of 60 and 20
    (batch,) = take(1)
    written = set()
    for path in (small_run() / "examples/train/search/product").glob("click-*"):
        for pair in map(fields_of, records_of(path)):
            ids = id_fingerprint(tf.constant([pair["query/id"], pair["candidate/id"]])).numpy()
            written.add(tuple(ids.tolist()))
    pairs = batch["pairs"][CLICK]
    found = set(zip(pairs["query_id"].tolist(), pairs["candidate_id"].tolist(), strict=True))
    assert found <= written and len(written) == 60
    assert {name: len(pairs["query_id"]) for name, pairs in batch["pairs"].items()} == sizes
    assert batch["random"].keys() == {"product"} and len(batch["random"]["product"]["id"]) == 8


def test_every_pair_comes_once_a_pass() -> None:
    ids = [batch["pairs"][CLICK]["candidate_id"] for batch in take(4)]  # 4 * 15 pairs: one pass
    _, counts = np.unique(np.concatenate(ids), return_counts=True)
    assert sorted(counts.tolist()) == [1] * 20 + [2] * 20  # 60 clicks on 40 products


def test_a_training_goes_on_where_it_stopped() -> None:
    whole = take(7)
    assert_same(take(3, start=4), whole[4:])
    assert not np.array_equal(rows(whole[0])[CLICK], rows(whole[4])[CLICK])
    changed = take(1, changes={"seed": 1})
    assert not np.array_equal(rows(changed[0])[CLICK], rows(whole[0])[CLICK])


def test_stored_ids_change_nothing_in_the_batches() -> None:
    assembly = small_assembly()
    assert assembly.specs["product"].ngram_vocabulary is not None
    texts = {e: dataclasses.replace(s, ngram_vocabulary=None) for e, s in assembly.specs.items()}
    assert_same(take(2), take(2, assembly=dataclasses.replace(assembly, specs=texts)))


EVEN = {CLICK: TaskConfig(batch_size=24), SAVE: TaskConfig(batch_size=12)}  # divide by 1, 2, 4


def test_replicas_divide_the_rows_of_one_batch() -> None:
    assembly = dataclasses.replace(small_assembly(), tasks=EVEN)
    whole = take(3, assembly=assembly)
    for replicas in (2, 4):
        parts = tf.nest.map_structure(
            tf.constant, take(3 * replicas, assembly=assembly, num_replicas=replicas)
        )
        for step, batch in enumerate(whole):
            own = parts[step * replicas : (step + 1) * replicas]
            assert_same(concatenate_features(own), batch)


def test_workers_take_turns_in_the_one_stream() -> None:
    assembly = dataclasses.replace(small_assembly(), tasks=EVEN)
    parts = take(16, assembly=assembly, num_replicas=4)[4:]  # from step 1 on
    for worker in (0, 1):
        arguments = {"start": 1, "num_replicas": 4, "shard": (2, worker)}
        own = take(6, assembly=assembly, **arguments)
        places = [0, 1, 4, 5, 8, 9] if worker == 0 else [2, 3, 6, 7, 10, 11]
        assert_same(own, [parts[place] for place in places])
    with pytest.raises(ValueError, match=r"Received: \(3, 0\) of 4 replicas"):
        take(1, assembly=assembly, num_replicas=4, shard=(3, 0))


def test_sub_batches_are_multiples_of_the_replicas() -> None:
    training, pairs = config().training, {CLICK: 60, SAVE: 20}
    assembly = small_assembly()
    assert sub_batch_sizes(assembly, training, pairs) == {CLICK: 15, SAVE: 9}
    assert sub_batch_sizes(assembly, training, pairs, 4) == {CLICK: 16, SAVE: 8}
    uneven = dataclasses.replace(assembly, tasks={CLICK: TaskConfig(batch_size=6)})
    with pytest.raises(InputError, match=r"click.batch_size must be a multiple.*Found: 6.* to 8"):
        sub_batch_sizes(uneven, training, pairs, 4)
    with pytest.raises(InputError, match=r"training.random_negatives must.*Found: 8. Set it to 9"):
        take(1, num_replicas=3)


def test_hard_negatives_come_with_their_pairs(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run(), run)
    changes = {"hard_negatives": True}
    message = "Found: no such folder.*`tfrs-sage mine-negatives --dir .*run`"
    with pytest.raises(InputError, match=message):
        take(1, run, changes=changes)
    write_mined(run)
    mined = {}
    for path in (run / "mined/search/product").glob("click-*"):
        for pair in map(fields_of, records_of(path)):
            mined[pair["query/id"], pair["candidate/id"]] = pair
    known = {
        tuple(id_fingerprint(tf.constant(key)).numpy().tolist()): pair
        for key, pair in mined.items()
    }
    without = 0
    for batch in take(4, run, changes=changes):
        pairs = batch["pairs"][CLICK]
        for row, key in enumerate(zip(pairs["query_id"], pairs["candidate_id"], strict=True)):
            pair = known[tuple(map(int, key))]
            images = len(pair.get("negative/image_embeddings", b"")) // 512
            assert pairs["negative"]["num_images"][row] == images
            if "negative/id" in pair:
                expected = id_fingerprint(tf.constant(pair["negative/id"])).numpy()
            else:
                expected, without = -1, without + 1
                assert not pairs["negative"]["text_lengths"][row].any()
            assert pairs["negative_id"][row] == expected
        assert pairs["negative"].keys() == pairs["candidate"].keys()
    assert without == sum("negative/id" not in pair for pair in mined.values()) > 25


def test_ids_of_another_vocabulary_are_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run(), run)
    manifest = read_manifest(run / "vocabulary")
    stored = manifest["ngram_vocabulary"]
    write_json(run / "vocabulary/manifest.json", {**manifest, "ngram_vocabulary": "other"})
    with pytest.raises(InputError, match=f"ngram_vocabulary is '{stored}', needed 'other'"):
        take(1, run)
