"""N-gram ids beside the texts of a record, so that training looks nothing up."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam

from beam_pipelines.records import EntityKey, Record
from beam_pipelines.vocabularies import texts_of
from tfrs_sage.schema.features import ENTITY_TEXTS, NGRAMS_SUFFIX

NGRAM_BATCH = 1024  # records whose texts are looked up in one call


class NgramIds:
    """The n-gram ids of texts, by the vocabularies in a folder that every worker reaches."""

    def __init__(self, vocabulary: Path) -> None:
        self._folder = vocabulary
        self._vocabulary: Any = None  # there may be no file of it yet

    def __getstate__(self) -> dict[str, Any]:
        return {"_folder": self._folder, "_vocabulary": None}

    def of(self, texts: set[bytes]) -> dict[bytes, bytes]:
        """The ids of each text as little-endian uint32 bytes."""
        if not texts:
            return {}
        if self._vocabulary is None:
            from tfrs_sage.text import NgramVocabulary  # TensorFlow: in workers only

            self._vocabulary = NgramVocabulary(self._folder)
        ordered = list(texts)
        ragged = self._vocabulary(ordered)
        values, splits = ragged.values.numpy().astype("<u4"), ragged.row_splits.numpy()
        return {
            text: values[start:end].tobytes()
            for text, start, end in zip(ordered, splits, splits[1:], strict=False)
        }


class AddNgramIds(beam.DoFn):
    """`((entity, id), Record)` -> the same, n-gram ids beside every text that has any.

    Takes what `WriteVocabularies` gives as a side input, and so waits for the vocabularies.

    Args:
        vocabulary: their folder; every worker must reach it.
    """

    def __init__(self, vocabulary: Path) -> None:
        self._ids = NgramIds(vocabulary)

    def start_bundle(self) -> None:
        self._waiting: list[tuple[EntityKey, Record]] = []

    def process(self, element: tuple[EntityKey, Record], written: list[Any]) -> Iterator[Any]:
        self._waiting.append(element)
        if len(self._waiting) >= NGRAM_BATCH:
            yield from self._take()

    def finish_bundle(self) -> Iterator[Any]:
        for element in self._take():
            yield beam.transforms.window.GlobalWindows.windowed_value(element)

    def _take(self) -> Iterator[tuple[EntityKey, Record]]:
        waiting, self._waiting = self._waiting, []
        ids = self._ids.of({text for _, record in waiting for text in texts_of(record)})
        for key, record in waiting:
            fields = [
                (name + NGRAMS_SUFFIX, ids[value])
                for name, value in record
                if name in ENTITY_TEXTS[key[0]] and ids[value]
            ]
            yield key, record + tuple(fields)
