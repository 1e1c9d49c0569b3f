"""Whether the shards that a training will read are whole and what their manifests say."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrs_sage.artefacts import file_sha256, fingerprint, read_manifest, require_same
from tfrs_sage.errors import InputError
from tfrs_sage.schema.features import (
    CANDIDATE_PREFIX,
    ID,
    IMAGE_DIM,
    IMAGES,
    NEGATIVE_PREFIX,
    NGRAMS_SUFFIX,
    QUERY_PREFIX,
    EntitySpec,
    Task,
)
from tfrs_sage.towers.features import FLOAT16_BYTES, NGRAM_BYTES
from tfrs_sage.training.assemble import Assembly
from tfrs_sage.training.config import TrainingConfig
from tfrs_sage.training.input_pipeline import pairs_folder, require_stored_vocabulary
from tfrs_sage.types import Tensor

BATCH = 1024  # records that are checked in one call
READ_BYTES = 2**20
MOST_BYTES = 2**31  # of a record
RIGHT = -1
# TensorFlow's message quotes the record, and fails itself where that is no UTF-8.
UNPARSED = (tf.errors.InvalidArgumentError, UnicodeDecodeError)


@dataclass(frozen=True)
class Field:
    """One rule about one field.

    Attributes:
        name: of the field.
        expected: the rule in words.
        unit: of the numbers that `wrong` gives, as a format.
        wrong: the field's bytes, string `[n]` -> int64 `[n]`, -1 where the rule holds and else
            what was found.
    """

    name: str
    expected: str
    unit: str
    wrong: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Group:
    """The shards of one task or entity.

    Attributes:
        folder: that holds the manifest.
        stem: of the files below it.
        fields: rules about their records.
        remedy: what to do about a fault.
    """

    folder: Path
    stem: str
    fields: list[Field]
    remedy: str

    def refuse(self, place: str, expected: str, found: str) -> InputError:
        return InputError(
            f"{self.folder / place} must have {expected}. Found: {found}. {self.remedy}"
        )


def check_shards(run_dir: Path, assembly: Assembly, config: TrainingConfig) -> dict[str, Any]:
    """Reads every shard that the training will read, before it begins.

    Each file must be there, with the size, the number of records and the SHA-256 of its manifest;
    every record must parse and its fields have the widths of the entity's spec.

    Args:
        run_dir: holds `examples/`, `catalogue/`, `vocabulary/`, and `mined/` where it is asked for.
        assembly: the model and the specs.
        config: says whether hard negatives are read.

    Returns:
        `files`, `records`, `bytes` and `seconds`.

    Raises:
        InputError: the first fault: file, record (from 1), field, expected, found, the way out.
    """
    began = time.monotonic()
    run_dir = Path(run_dir)
    require_stored_vocabulary(run_dir, assembly.specs)
    done = {"files": 0, "records": 0, "bytes": 0}
    for group in _groups(run_dir, assembly, config):
        listed = _listed(group)
        faults = _faults_of(group.fields)
        for name, stated in listed.items():
            _check_file(group, name, stated, faults)
            done["files"] += 1
            done["records"] += stated["records"]
            done["bytes"] += stated["bytes"]
    return {**done, "seconds": round(time.monotonic() - began, 2)}


def _groups(run_dir: Path, assembly: Assembly, config: TrainingConfig) -> Iterator[Group]:
    """What the training reads; the manifests of its folders must belong together."""
    examples = read_manifest(run_dir / "examples")
    again = "Run preprocess again."
    folder, stem, remedy = run_dir / "examples", "train/", again
    if config.hard_negatives:
        folder, stem = pairs_folder(run_dir, config), ""
        remedy = f"Run `tfrs-sage mine-negatives --dir {run_dir}` again."
        made_from = {"examples": fingerprint(examples["files"])}
        require_same(folder, read_manifest(folder), made_from)
    size = _vocabulary_size(run_dir, assembly.specs)
    for name in assembly.tasks:
        task = Task.parse(name)
        sides = [(QUERY_PREFIX, task.query_entity), (CANDIDATE_PREFIX, task.candidate_type)]
        if config.hard_negatives:
            sides.append((NEGATIVE_PREFIX, task.candidate_type))
        fields = [f for side, entity in sides for f in _fields(assembly.specs[entity], side, size)]
        yield Group(folder, stem + name, fields, remedy)
    if assembly.model.needs_random_negatives:
        catalogue = run_dir / "catalogue"
        manifest = read_manifest(catalogue)
        require_same(catalogue, manifest, {"schema_hash": examples["schema_hash"]})
        for entity in assembly.model.random_sketches:
            spec = assembly.specs[entity]
            bound = {"ngram_vocabulary": spec.ngram_vocabulary}
            require_same(
                catalogue, EntitySpec.from_json(manifest["entities"][entity]).to_json(), bound
            )
            yield Group(catalogue, entity, _fields(spec, "", size), again)


def _vocabulary_size(run_dir: Path, specs: Mapping[str, EntitySpec]) -> int:
    """Number of n-gram ids with 0; where ids are stored, the files must be those they are of."""
    folder = run_dir / "vocabulary"
    manifest = read_manifest(folder)
    if any(spec.ngram_vocabulary for spec in specs.values()):
        found = {name: file_sha256(folder / name) for name in manifest["files"]}
        require_same(folder, found, {n: file["sha256"] for n, file in manifest["files"].items()})
    return 1 + sum(manifest["sizes"][kind] for kind in ("unigram", "bigram", "char_trigram"))


def _fields(spec: EntitySpec, prefix: str, vocabulary_size: int) -> list[Field]:
    fields = []
    if prefix != NEGATIVE_PREFIX:  # a pair may have no negative
        fields.append(Field(prefix + ID, "an id", "{} bytes", _bytes_of(1, 1, MOST_BYTES)))
    if spec.max_images:
        size, most = IMAGE_DIM * FLOAT16_BYTES, spec.max_images
        expected = f"at most {most} vectors of {size} bytes ({IMAGE_DIM} float16)"
        fields.append(Field(prefix + IMAGES, expected, "{} bytes", _bytes_of(size, 0, most * size)))
    for name, dim in spec.vectors.items():
        size = dim * FLOAT16_BYTES
        expected = f"{size} bytes ({dim} float16) or none"
        fields.append(Field(prefix + name, expected, "{} bytes", _bytes_of(size, 0, size)))
    if spec.ngram_vocabulary is not None:
        sizes = _bytes_of(NGRAM_BYTES, 0, MOST_BYTES)
        known = f"ids of the vocabulary, 1 to {vocabulary_size - 1}"
        for text in spec.texts:
            name = prefix + text + NGRAMS_SUFFIX
            fields.append(Field(name, f"ids of {NGRAM_BYTES} bytes each", "{} bytes", sizes))
            fields.append(Field(name, known, "id {}", _ids_below(vocabulary_size)))
    return fields


def _bytes_of(step: int, least: int, most: int) -> Callable[[Tensor], Tensor]:
    """Refuses sizes that are not a multiple of `step` from `least` to `most`."""

    def wrong(data: Tensor) -> Tensor:
        size = tf.cast(tf.strings.length(data), tf.int64)
        right = (size >= least) & (size <= most) & (size % step == 0)
        return tf.where(right, tf.constant(RIGHT, tf.int64), size)

    return wrong


def _ids_below(vocabulary_size: int) -> Callable[[Tensor], Tensor]:
    """Refuses rows with an id that is 0 or beyond the vocabulary; gives the largest such id."""

    def wrong(data: Tensor) -> Tensor:
        counts = tf.strings.length(data) // NGRAM_BYTES
        whole = tf.strings.length(data) == counts * NGRAM_BYTES  # the others are told by their size
        counts, data = tf.where(whole, counts, 0), tf.where(whole, data, "")
        ids = tf.io.decode_raw(tf.strings.reduce_join(data), tf.int32)
        known = (ids >= 1) & (ids < vocabulary_size)

        def largest() -> Tensor:
            unsigned = tf.cast(tf.bitcast(ids, tf.uint32), tf.int64)
            found = tf.where(known, tf.constant(RIGHT, tf.int64), unsigned)
            rows = tf.repeat(tf.range(tf.size(data)), counts)
            return tf.maximum(tf.math.unsorted_segment_max(found, rows, tf.size(data)), RIGHT)

        # Rows are told apart only where there is a fault: it costs more than all the rest.
        right = tf.fill(tf.shape(data), tf.constant(RIGHT, tf.int64))
        return tf.cond(tf.reduce_all(known), lambda: right, largest)

    return wrong


def _faults_of(fields: list[Field]) -> Callable[[Tensor], Tensor]:
    """Serialized records `[n]` -> int64 `[num_fields, n]`, -1 where a rule holds."""
    names = {field.name for field in fields}
    features = {name: tf.io.FixedLenFeature([], tf.string, "") for name in sorted(names)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def faults(serialized: Tensor) -> Tensor:
        parsed = tf.io.parse_example(serialized, features)
        return tf.stack([field.wrong(parsed[field.name]) for field in fields])

    return faults.get_concrete_function()  # a call of it cannot warn of retracing


def _listed(group: Group) -> dict[str, dict[str, Any]]:
    """The files of a group as the manifest lists them; all must be there, and no others."""
    pattern = f"{group.stem}-?????-of-?????.tfrecord"
    there = {path.relative_to(group.folder).as_posix() for path in group.folder.glob(pattern)}
    listed = {
        name: stated
        for name, stated in read_manifest(group.folder)["files"].items()
        if name.rsplit("-", 3)[0] == group.stem
    }
    if not listed:
        raise group.refuse(group.stem, "shards in the manifest", "none")
    for name in sorted(listed.keys() ^ there):
        if name in listed:
            raise group.refuse(name, f"{listed[name]['records']} records", "no such file")
        raise group.refuse(name, "a place in the manifest", "none: it is of another set")
    return listed


def _check_file(
    group: Group, name: str, stated: Mapping[str, Any], faults: Callable[[Tensor], Tensor]
) -> None:
    path = group.folder / name
    size = path.stat().st_size
    whole = size == stated["bytes"] and file_sha256(path) == stated["sha256"]
    if not whole:
        _require_readable(group, name)
    records = 0
    for batch in tf.data.TFRecordDataset(str(path), buffer_size=READ_BYTES).batch(BATCH):
        try:
            wrong = faults(batch).numpy()
        except UNPARSED as error:
            raise _unparsed(group, name, records, batch) from error
        if wrong.max() != RIGHT:
            row = int((wrong != RIGHT).any(axis=0).argmax())
            rule = int((wrong[:, row] != RIGHT).argmax())
            field = group.fields[rule]
            place = f"{name}, record {records + row + 1}, field {field.name}"
            raise group.refuse(place, field.expected, field.unit.format(wrong[rule, row]))
        records += len(batch)
    if records != stated["records"]:
        raise group.refuse(name, f"{stated['records']} records", f"{records} records")
    if not whole:
        expected = f"{stated['bytes']} bytes of SHA-256 {stated['sha256'][:16]}"
        raise group.refuse(name, expected, f"{size} bytes of SHA-256 {file_sha256(path)[:16]}")


def _require_readable(group: Group, name: str) -> None:
    """Tells the record at which a file breaks off or was altered, if its framing shows one."""
    records = 0
    try:
        for _ in tf.data.TFRecordDataset(str(group.folder / name)):
            records += 1
    except tf.errors.DataLossError as error:
        cut = "truncated" in error.message
        found = "the end of the file in it" if cut else "another checksum: its bytes were altered"
        place = f"{name}, record {records + 1}"
        raise group.refuse(place, "the bytes that were written", found) from error


def _unparsed(group: Group, name: str, before: int, batch: Tensor) -> InputError:
    """Tells the first record, and its field, that kept a batch from being parsed."""
    names = list(dict.fromkeys(field.name for field in group.fields))
    row, wrong = 0, list[str]()
    while not wrong:
        wrong = [field for field in names if not _parses(batch[row], field)]
        row += 1
    place, expected, found = f"{name}, record {before + row}", "a tf.train.Example", "other bytes"
    if len(wrong) < len(names):
        place, expected, found = f"{place}, field {wrong[0]}", "one bytes value", "another type"
    return group.refuse(place, expected, found)


def _parses(serialized: Tensor, field: str) -> bool:
    try:
        tf.io.parse_single_example(serialized, {field: tf.io.FixedLenFeature([], tf.string, "")})
    except UNPARSED:
        return False
    return True
