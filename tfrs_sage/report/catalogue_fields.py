"""The fields of a run's products and pins, as its records hold them."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfrs_sage.artefacts import read_manifest
from tfrs_sage.schema.features import ID, IMAGE_DIM, IMAGES, EntitySpec
from tfrs_sage.training.input_pipeline import example_files

RECORD_BATCH = 4096
IMAGE_BYTES = 2 * IMAGE_DIM  # float16


@dataclass(frozen=True)
class CatalogueFields:
    """Fields of all entities of one kind.

    Attributes:
        rows: place of each entity in the lists, by id.
        texts: by name of the text field, `[n]` values, empty where absent.
        num_images: int64 `[n]`.
    """

    rows: dict[str, int]
    texts: dict[str, list[str]]
    num_images: np.ndarray

    def title(self, one: str) -> str:
        """The title of an entity, or its first text where it has none; empty without a text."""
        row = self.rows[one]
        values = [self.texts.get("title", [""] * len(self.rows))[row]]
        values += [texts[row] for texts in self.texts.values()]
        return next((value for value in values if value), "")

    def document(self, one: str) -> str:
        """All texts of an entity, one after the other."""
        row = self.rows[one]
        return " ".join(filter(None, (texts[row] for texts in self.texts.values())))


def read_fields(run_dir: Path, entity: str) -> CatalogueFields:
    """Reads the texts and the number of images of all products or pins of a run.

    Args:
        run_dir: holds `catalogue/`.
        entity: `product` or `pin`.
    """
    spec = EntitySpec.from_json(read_manifest(run_dir / "catalogue")["entities"][entity])
    names = [ID, IMAGES, *spec.texts]
    features = {name: tf.io.FixedLenFeature([], tf.string, "") for name in names}
    columns: dict[str, list[str]] = {name: [] for name in (ID, *spec.texts)}
    images: list[np.ndarray] = []
    for batch in tf.data.TFRecordDataset(example_files(run_dir / "catalogue", entity)).batch(
        RECORD_BATCH
    ):
        parsed = tf.io.parse_example(batch, features)
        for name, values in columns.items():
            values += [value.decode() for value in parsed[name].numpy()]
        images.append(tf.strings.length(parsed[IMAGES]).numpy() // IMAGE_BYTES)
    rows = {one: row for row, one in enumerate(columns.pop(ID))}
    return CatalogueFields(rows, columns, np.concatenate(images).astype(np.int64))


def records_of(run_dir: Path, entity: str, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Ids and serialized records of some products or pins, in the order of the catalogue.

    Args:
        run_dir: holds `catalogue/`.
        entity: `product` or `pin`.
        wanted: their ids; those that are not there are passed over.
    """
    just_id = {ID: tf.io.FixedLenFeature([], tf.string, "")}
    files = example_files(run_dir / "catalogue", entity)
    for batch in tf.data.TFRecordDataset(files).batch(RECORD_BATCH):
        names = [one.decode() for one in tf.io.parse_example(batch, just_id)[ID].numpy()]
        for place in (place for place, one in enumerate(names) if one in wanted):
            yield names[place], batch[place].numpy()


class RunTexts:
    """Texts of queries and candidates by id: of products and pins their fields, else the id.

    Args:
        run_dir: holds `catalogue/`.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._fields: dict[str, CatalogueFields] = {}

    def fields(self, entity: str) -> CatalogueFields:
        """Fields of all products or pins, read once."""
        if entity not in self._fields:
            self._fields[entity] = read_fields(self._run_dir, entity)
        return self._fields[entity]

    def titles(self, entity: str, ids: Sequence[str]) -> list[str]:
        """`CatalogueFields.title` of each; of a text query the text itself."""
        if entity == "query":
            return list(ids)
        fields = self.fields(entity)
        return [fields.title(one) for one in ids]

    def documents(self, entity: str, ids: Sequence[str]) -> list[str]:
        """`CatalogueFields.document` of each; of a text query the text itself."""
        if entity == "query":
            return list(ids)
        fields = self.fields(entity)
        return [fields.document(one) for one in ids]
