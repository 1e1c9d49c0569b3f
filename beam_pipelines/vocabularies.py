"""Vocabularies by frequency: n-grams for the hash embedding, words for WordPiece."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam

from beam_pipelines.records import KeepLeast, Record, leave
from tfrs_sage.schema.config import PreprocessConfig
from tfrs_sage.schema.features import ID, IMAGES, VECTOR_SUFFIX

TEXT_BATCH = 4096  # strings that are tokenized in one call
MOST_TOKENS = 500_000  # distinct tokens that a worker counts before it sends them on
MOST_PUNCTUATION = 4096  # Unicode has fewer than 1000 punctuation marks
KINDS = ("unigram", "bigram", "char_trigram", "punctuation")


class CountTokens(beam.DoFn):
    """Record -> `((kind, token), count)`, summed over the texts of a bundle.

    `unigram`, `bigram` and `char_trigram` are as in `tfrs_sage.text`; `punctuation` counts the
    marks that the words leave out and WordPiece needs.
    """

    def setup(self) -> None:
        from beam_pipelines.token_counts import count_tokens  # TensorFlow: in workers only

        self._count_tokens = count_tokens

    def start_bundle(self) -> None:
        self._texts: list[bytes] = []
        self._counts: dict[str, Counter[Any]] = {kind: Counter() for kind in KINDS}

    def process(self, record: Record) -> Iterator[tuple[tuple[str, str], int]]:
        self._texts.extend(texts_of(record))
        if len(self._texts) >= TEXT_BATCH:
            self._tokenize()
            if sum(map(len, self._counts.values())) > MOST_TOKENS:
                yield from self._take()

    def finish_bundle(self) -> Iterator[Any]:
        self._tokenize()
        for element in self._take():
            yield beam.transforms.window.GlobalWindows.windowed_value(element)

    def _tokenize(self) -> None:
        if self._texts:
            self._count_tokens(self._texts, self._counts)
            self._texts = []

    def _take(self) -> Iterator[tuple[tuple[str, str], int]]:
        from beam_pipelines.token_counts import unpack_trigram

        for kind, counts in self._counts.items():
            for token, number in counts.items():
                is_packed = kind == "char_trigram"
                yield (kind, unpack_trigram(token) if is_packed else token.decode()), number
        self._counts = {kind: Counter() for kind in KINDS}


def texts_of(record: Record) -> list[bytes]:
    """The texts of a record: every field but its id and its vectors."""
    return [
        value
        for name, value in record
        if name not in (ID, IMAGES) and not name.endswith(VECTOR_SUFFIX)
    ]


class WriteVocabularies(beam.PTransform):
    """Record -> an element for each `<kind>.txt` under `folder`, after it has been written.

    The most frequent token comes first, equally frequent ones in the order of their code points.
    N-grams seen less often than `min_count` are left out; the words and marks for WordPiece are
    left for the job's end with their counts, the rare ones too.
    """

    def __init__(self, folder: Path, config: PreprocessConfig) -> None:
        super().__init__()
        self._folder = folder
        self._min_count = config.min_count
        self._limits = {
            "unigram": config.max_unigrams,
            "bigram": config.max_bigrams,
            "char_trigram": config.max_char_trigrams,
            "punctuation": MOST_PUNCTUATION,
        }

    def expand(self, records: beam.PCollection) -> Any:
        counts = (
            records
            | "CountTokens" >> beam.ParDo(CountTokens())
            | "SumTokens" >> beam.CombinePerKey(sum)
        )
        written = []
        for kind, limit in self._limits.items():
            # Words stay with the rare ones, for WordPiece; the writer leaves them out.
            least = self._min_count if kind in ("bigram", "char_trigram") else 1
            written.append(
                counts
                | f"Rank_{kind}" >> beam.FlatMap(ranked, kind, least)
                | f"Top_{kind}" >> beam.CombineGlobally(KeepLeast(limit))
                | f"Write_{kind}" >> beam.Map(write_tokens, self._folder, kind, self._min_count)
            )
        return written | "Written" >> beam.Flatten()


def ranked(
    element: tuple[tuple[str, str], int], kind: str, min_count: int
) -> Iterator[tuple[int, str]]:
    """`(-count, token)` of a token of this kind that is frequent enough."""
    (own_kind, token), number = element
    if own_kind == kind and number >= min_count:
        yield -number, token


def write_tokens(
    tokens: Iterable[tuple[int, str]], folder: Path, kind: str, min_count: int
) -> None:
    """Writes one vocabulary and its counts; words and marks are left for the job's end too."""
    ordered = [(token, -negative) for negative, token in tokens]
    if kind in ("unigram", "punctuation"):
        leave(folder, kind, {"kind": kind, "counts": ordered})
    if kind != "punctuation":
        kept = [(token, number) for token, number in ordered if number >= min_count]
        (folder / f"{kind}.txt").write_bytes("".join(f"{token}\n" for token, _ in kept).encode())
        counts = "".join(f"{number}\n" for _, number in kept)
        (folder / f"{kind}.counts.txt").write_bytes(counts.encode())
