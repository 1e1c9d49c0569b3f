"""Words, pairs of words and character trigrams of strings, as TensorFlow ops.

Every function below works on a flat list of tokens with the row of each, which is what a ragged
tensor is made of and what the vocabulary look-up needs, at a fraction of the cost of ragged ops.

References:
    OmniSearchSage (arXiv 2404.16260), section 4.2; its published tokenizer. Differs from that in
    one point: it walks over UTF-16 units and so reads every character beyond U+FFFF (most emoji)
    twice; here a character is read once.
"""

from typing import NamedTuple

import tensorflow as tf

from tfrs_sage.text.normalise import CJK, PUNCTUATION, WHITESPACE, normalise
from tfrs_sage.types import Tensor

BOUNDARY = "#"  # stands for whitespace in trigrams and joins the words of a pair
CODE_POINT_BITS = 21  # 0x10FFFF is the largest code point: three of them fit an int64


class Tokens(NamedTuple):
    """Tokens of all rows, one after the other.

    Attributes:
        values: `[num_tokens]` string, or int64 for packed trigrams.
        row_splits: `[num_rows + 1]` int64, where each row starts and the last one ends.
    """

    values: Tensor
    row_splits: Tensor


def ngram_tokens(strings: Tensor) -> dict[str, tf.RaggedTensor]:
    """The n-grams of raw strings, in order of appearance, repeated ones as often as they occur.

    Args:
        strings: `[n]` string, UTF-8, as the tables hold them.

    Returns:
        Three ragged string tensors `[n, None]`:
        `unigram`: words, which are maximal runs without whitespace or punctuation; a CJK
        character is a word of its own;
        `bigram`: neighbouring words joined with `#`;
        `char_trigram`: windows of 3 characters over the text with a `#` before and after it and
        for each run of whitespace. Whitespace beside a `#` melts into it, so " a " gives `#a#`.
        An empty or blank string has no token of any kind.

    Example:
        >>> tokens = ngram_tokens(["Red sofa"])
        >>> tokens["bigram"].to_list()
        [[b'red#sofa']]
        >>> tokens["char_trigram"].to_list()
        [[b'#re', b'red', b'ed#', b'd#s', b'#so', b'sof', b'ofa', b'fa#']]
    """
    normalised = normalise(strings)
    unigrams = words(normalised)
    characters = tf.strings.unicode_split(bounded(normalised), "UTF-8")
    return {
        "unigram": _ragged(unigrams),
        "bigram": _ragged(word_pairs(unigrams)),
        "char_trigram": tf.strings.ngrams(characters, 3, separator=""),
    }


def words(normalised: Tensor) -> Tokens:
    """The words of `[n]` normalised strings."""
    spaced = tf.strings.regex_replace(normalised, f"[{WHITESPACE}{PUNCTUATION}]+", " ")
    spaced = tf.strings.regex_replace(spaced, f"([{CJK}])", r" \1 ")
    # Splitting at a given separator keeps control characters, at which splitting at "whitespace"
    # would cut; the empty pieces around it are dropped instead.
    pieces = tf.raw_ops.StringSplitV2(input=spaced, sep=" ", maxsplit=-1)
    kept = tf.where(tf.not_equal(pieces.values, ""))[:, 0]
    rows = tf.gather(pieces.indices[:, 0], kept)
    num_rows = tf.size(normalised, out_type=tf.int64)
    splits = tf.searchsorted(rows, tf.range(num_rows + 1), out_type=tf.int64)
    return Tokens(tf.gather(pieces.values, kept), splits)


def word_pairs(unigrams: Tokens) -> Tokens:
    """Neighbouring words of a row, joined with `#`."""
    return Tokens(
        *tf.raw_ops.StringNGrams(
            data=unigrams.values,
            data_splits=unigrams.row_splits,
            separator=BOUNDARY,
            ngram_widths=[2],
            left_pad="",
            right_pad="",
            pad_width=0,
            preserve_short_sequences=False,
        )
    )


def bounded(normalised: Tensor) -> Tensor:
    """`[n]` normalised strings with `#` for whitespace and around each, e.g. `#red#sofa#`."""
    # The blank at the end becomes the closing `#`, unless the text ends in one already.
    framed = tf.strings.join([BOUNDARY, normalised, " "])
    return tf.strings.regex_replace(framed, f"{BOUNDARY}?[{WHITESPACE}]+", BOUNDARY)


def packed_trigrams(normalised: Tensor) -> Tokens:
    """Character trigrams of `[n]` normalised strings as int64: three code points in 63 bits.

    The same windows as `char_trigram`, without making a string of each, which would be most of
    the cost of a look-up.
    """
    codes = tf.strings.unicode_decode(bounded(normalised), "UTF-8")
    values = tf.cast(codes.flat_values, tf.int64)
    splits = tf.cast(codes.row_splits, tf.int64)
    # Each row has a `#` at least, so a window starts at every place but the row's last two.
    num_windows = tf.maximum(splits[1:] - splits[:-1] - 2, 0)
    window_splits = tf.concat([[tf.zeros([], tf.int64)], tf.cumsum(num_windows)], 0)
    starts = tf.repeat(splits[:-1] - window_splits[:-1], num_windows) + tf.range(window_splits[-1])
    return Tokens(pack(values, starts), window_splits)


def pack(code_points: Tensor, starts: Tensor) -> Tensor:
    """Packs the three code points from each of `starts` into one int64."""
    shift = tf.constant(1 << CODE_POINT_BITS, tf.int64)
    first, second, third = (tf.gather(code_points, starts + k) for k in range(3))
    return (first * shift + second) * shift + third


def _ragged(tokens: Tokens) -> tf.RaggedTensor:
    return tf.RaggedTensor.from_row_splits(tokens.values, tokens.row_splits, validate=False)
