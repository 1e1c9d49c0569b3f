"""Reads back what the job wrote."""

from pathlib import Path

import tfrs_sage  # noqa: F401  isort: skip
import tensorflow as tf


def read_records(folder: Path, pattern: str) -> list[dict[str, bytes]]:
    """Fields of every record of the files that match, in order."""
    records = []
    for path in sorted(folder.glob(pattern)):
        for serialized in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            features = tf.train.Example.FromString(serialized).features.feature
            records.append({name: value.bytes_list.value[0] for name, value in features.items()})
    return records


def all_bytes(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its relative path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
