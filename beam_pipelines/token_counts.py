"""Counts of n-grams in a batch of texts. Imports TensorFlow, so it is imported in workers."""

from collections import Counter
from typing import Any

import tfrs_sage  # noqa: F401  isort: skip  (before TensorFlow)
import tensorflow as tf

from tfrs_sage.text.ngrams import CODE_POINT_BITS, packed_trigrams, word_pairs, words
from tfrs_sage.text.normalise import PUNCTUATION, normalise


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
def _distinct(texts: tf.Tensor) -> dict[str, tuple[tf.Tensor, tf.Tensor]]:
    """Distinct tokens of each kind and how often each occurs."""
    normalised = normalise(texts)
    unigrams = words(normalised)
    marks = tf.strings.regex_replace(normalised, f"[^{PUNCTUATION}]+", "")
    tokens = {
        "unigram": unigrams.values,
        "bigram": word_pairs(unigrams).values,
        "char_trigram": packed_trigrams(normalised).values,
        "punctuation": tf.strings.unicode_split(marks, "UTF-8").flat_values,
    }
    distinct = {}
    for kind, values in tokens.items():
        found = tf.unique_with_counts(values)
        distinct[kind] = (found.y, found.count)
    return distinct


def count_tokens(texts: list[bytes], counts: dict[str, Counter[Any]]) -> None:
    """Adds the tokens of texts to the counts of each kind; trigrams are packed int64."""
    for kind, (tokens, numbers) in _distinct(tf.constant(texts, tf.string)).items():
        own = counts[kind]
        for token, number in zip(tokens.numpy().tolist(), numbers.numpy().tolist(), strict=True):
            own[token] += number


def unpack_trigram(packed: int) -> str:
    """The three characters of a packed trigram."""
    mask = (1 << CODE_POINT_BITS) - 1
    return "".join(chr((packed >> shift * CODE_POINT_BITS) & mask) for shift in (2, 1, 0))
