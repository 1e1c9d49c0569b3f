"""From raw strings to n-gram ids, by vocabularies that were counted on the corpus."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from tfrs_sage.artefacts import MANIFEST
from tfrs_sage.errors import InputError
from tfrs_sage.text.ngrams import CODE_POINT_BITS, Tokens, packed_trigrams, word_pairs, words
from tfrs_sage.text.normalise import normalise
from tfrs_sage.types import Tensor

KINDS = ("unigram", "bigram", "char_trigram")
NOT_FOUND = -1


class NgramVocabulary(tf.Module):
    """Callable from strings to the ids of their n-grams, in one id space.

    Ids are 1..U for unigrams, U+1..U+B for bigrams and U+B+1..U+B+T for character trigrams, in
    the order of the vocabulary files. Tokens outside the vocabulary are dropped, as in the
    published OmniSearchSage tokenizer, so 0 never comes out and is free for padding.

    The word files become assets of a SavedModel. Trigrams are looked up as packed int64 code
    points, which is faster than by string; their keys are constants of the graph.

    Attributes:
        size: number of ids with 0, i.e. the rows of an embedding over them: 1 + U + B + T.
        sizes: number of tokens by kind.

    Example:
        >>> vocabulary = NgramVocabulary("runs/home/vocabulary")  # doctest: +SKIP
        >>> vocabulary(["red sofa"])  # doctest: +SKIP
        <tf.RaggedTensor [[12, 3, 260, 1004, 1190, 1013]]>
    """

    def __init__(self, folder: str | Path) -> None:
        """Reads the vocabulary files of a folder.

        Args:
            folder: holds unigram.txt, bigram.txt and char_trigram.txt, one token a line.

        Raises:
            InputError: a file is absent or holds an empty or repeated token.
        """
        super().__init__(name="ngram_vocabulary")
        tokens = {kind: read_tokens(Path(folder) / f"{kind}.txt") for kind in KINDS}
        self.sizes = {kind: len(tokens[kind]) for kind in KINDS}
        self.size = 1 + sum(self.sizes.values())
        self._words = _file_table(Path(folder) / "unigram.txt", tokens["unigram"])
        self._pairs = _file_table(Path(folder) / "bigram.txt", tokens["bigram"])
        self._trigrams = _packed_table(tokens["char_trigram"])

    def __call__(self, strings: Tensor) -> tf.RaggedTensor:
        """Ids of raw strings.

        Args:
            strings: `[n]` string, UTF-8, not yet normalised.

        Returns:
            RaggedTensor int32 `[n, None]`; in a row first unigrams, then bigrams, then trigrams,
            each in order of appearance.
        """
        normalised = normalise(strings)
        unigrams = words(normalised)
        groups = [
            _look_up(self._words, unigrams, offset=1),
            _look_up(self._pairs, word_pairs(unigrams), offset=1 + self.sizes["unigram"]),
            _look_up(
                self._trigrams,
                packed_trigrams(normalised),
                offset=1 + self.sizes["unigram"] + self.sizes["bigram"],
            ),
        ]
        return _side_by_side(groups)


def inverse_frequencies(folder: str | Path, num_texts: int) -> np.ndarray:
    """What each id tells of a text that has it: `ln(1 + num_texts / count)`, 0 for id 0.

    Args:
        folder: of the vocabulary, with the counts that preprocess wrote.
        num_texts: int, texts (or records) that were counted.

    Returns:
        float32 `[size]`, in the ids of `NgramVocabulary`.

    Raises:
        InputError: the folder has no counts, or not one for each token.
    """
    weights = [np.zeros(1)]
    for kind in KINDS:
        path, tokens = (
            Path(folder) / f"{kind}.counts.txt",
            read_tokens(Path(folder) / f"{kind}.txt"),
        )
        if not path.is_file():
            raise InputError(
                f"{folder} must hold how often each n-gram occurs. Found: no {path.name}. Run "
                "preprocess again: an earlier version wrote none."
            )
        counts = np.array(path.read_text(encoding="ascii").split(), np.float64)
        if len(counts) != len(tokens):
            raise InputError(
                f"{path} must have a count for each of the {len(tokens)} tokens. Found: "
                f"{len(counts)}. Run preprocess again."
            )
        weights.append(np.log1p(num_texts / counts))
    return np.concatenate(weights).astype(np.float32)


def read_tokens(path: Path) -> list[str]:
    """Tokens of a vocabulary file, one a line.

    Raises:
        InputError: the file is absent, or a token is empty or occurs twice.
    """
    if not path.is_file():
        raise InputError(
            f"a vocabulary folder must hold unigram.txt, bigram.txt and char_trigram.txt. "
            f"Found: no {path}. Write it with the preprocess step; its {MANIFEST} is written last."
        )
    # Only "\n" ends a line: tokens may hold other characters that str.splitlines breaks at.
    text = path.read_bytes().decode("utf-8")
    tokens = text.removesuffix("\n").split("\n") if text else []
    if "" in tokens or len(set(tokens)) != len(tokens):
        seen: set[str] = set()
        for line, token in enumerate(tokens, 1):
            if not token or token in seen:
                raise InputError(
                    "a vocabulary file must hold each token once and none that is empty. "
                    f"Found: {token!r} in line {line} of {path}. Write it again."
                )
            seen.add(token)
    return tokens


def pack_trigram(token: str) -> int:
    """The int64 that `tfrs_sage.text.ngrams.packed_trigrams` makes of this trigram.

    Raises:
        InputError: the token has not three characters.
    """
    if len(token) != 3:
        raise InputError(
            f"a character trigram must have 3 characters. Found: {token!r}. "
            "Write the vocabulary again with the preprocess step."
        )
    first, second, third = (ord(character) for character in token)
    return (first << 2 * CODE_POINT_BITS) | (second << CODE_POINT_BITS) | third


def _file_table(path: Path, tokens: list[str]) -> tf.lookup.StaticHashTable | None:
    """Token to line number (from 0); None for an empty file, which the initialiser refuses."""
    if not tokens:
        return None
    initialiser = tf.lookup.TextFileInitializer(
        str(path.resolve()),
        key_dtype=tf.string,
        key_index=tf.lookup.TextFileIndex.WHOLE_LINE,
        value_dtype=tf.int64,
        value_index=tf.lookup.TextFileIndex.LINE_NUMBER,
        vocab_size=len(tokens),
    )
    return tf.lookup.StaticHashTable(initialiser, NOT_FOUND)


def _packed_table(tokens: list[str]) -> tf.lookup.StaticHashTable | None:
    if not tokens:
        return None
    keys = tf.constant([pack_trigram(token) for token in tokens], tf.int64)
    values = tf.range(len(tokens), dtype=tf.int64)
    initialiser = tf.lookup.KeyValueTensorInitializer(keys, values)
    return tf.lookup.StaticHashTable(initialiser, NOT_FOUND)


def _look_up(table: tf.lookup.StaticHashTable | None, tokens: Tokens, offset: int) -> Tokens:
    """Ids (int32) of the tokens that the table knows; the others leave their row."""
    if table is None:
        return Tokens(tf.zeros([0], tf.int32), tf.zeros_like(tokens.row_splits))
    lines = table.lookup(tokens.values)
    kept = tf.where(tf.not_equal(lines, NOT_FOUND))[:, 0]
    splits = tf.searchsorted(kept, tokens.row_splits, out_type=tf.int64)
    return Tokens(tf.cast(tf.gather(lines, kept), tf.int32) + offset, splits)


def _side_by_side(groups: list[Tokens]) -> tf.RaggedTensor:
    """Joins the rows of the groups, as `tf.concat(..., axis=1)` does, without its many ops."""
    splits = tf.add_n([group.row_splits for group in groups])
    places = []
    for this, group in enumerate(groups):
        # Before a value of row r come the whole rows below r of every group, and row r itself of
        # the groups to the left.
        shift = tf.add_n(
            [
                other.row_splits[1:] if which < this else other.row_splits[:-1]
                for which, other in enumerate(groups)
                if which != this
            ]
        )
        lengths = group.row_splits[1:] - group.row_splits[:-1]
        count = tf.size(group.values, out_type=tf.int64)
        places.append(tf.repeat(shift, lengths) + tf.range(count))
    values = tf.scatter_nd(
        tf.concat(places, 0)[:, None], tf.concat([g.values for g in groups], 0), splits[-1:]
    )
    return tf.RaggedTensor.from_row_splits(values, splits, validate=False)
