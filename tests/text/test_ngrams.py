"""N-grams by hand, and against a reference written without TensorFlow."""

import pytest

import tfrs_sage  # noqa: F401  isort: skip
import tensorflow as tf

from tests.text import reference
from tests.text.mixed_scripts import corpus
from tfrs_sage.text import ngram_tokens, normalise
from tfrs_sage.text.ngrams import packed_trigrams
from tfrs_sage.text.vocabulary import pack_trigram

BY_HAND = [
    # Latin: case folded, the comma parts words but stays in the trigrams.
    (
        "Red sofa, L",
        ["red", "sofa", "l"],
        ["red#sofa", "sofa#l"],
        ["#re", "red", "ed#", "d#s", "#so", "sof", "ofa", "fa,", "a,#", ",#l", "#l#"],
    ),
    # Accents: `e` + combining acute composes to one character; sharp s folds to two.
    (
        "Cafe\u0301 GROß",
        ["caf\u00e9", "gross"],
        ["caf\u00e9#gross"],
        ["#ca", "caf", "af\u00e9", "f\u00e9#", "\u00e9#g", "#gr", "gro", "ros", "oss", "ss#"],
    ),
    # Chinese: every character is a word, in trigrams nothing is split.
    (
        "紅sofa床",
        ["紅", "sofa", "床"],
        ["紅#sofa", "sofa#床"],
        ["#紅s", "紅so", "sof", "ofa", "fa床", "a床#"],
    ),
    # Arabic, with the Arabic comma.
    ("كنب، بيت", ["كنب", "بيت"], ["كنب#بيت"],
     ["#كن", "كنب", "نب،", "ب،#", "،#ب", "#بي", "بيت", "يت#"]),
    # Emoji: one character beyond U+FFFF, and a heart whose variation selector is dropped.
    ("😀 ❤\ufe0f", ["😀", "❤"], ["😀#❤"], ["#😀#", "😀#❤", "#❤#"]),
    ("", [], [], []),
    (" \t\u3000\n", [], [], []),
    # Punctuation only: no word, but trigrams.
    ("?!", [], [], ["#?!", "?!#"]),
    # Blanks around and between melt into one boundary each.
    ("  a   b ", ["a", "b"], ["a#b"], ["#a#", "a#b", "#b#"]),
    # Shorter than the window: the boundaries fill it.
    ("x", ["x"], [], ["#x#"]),
    # A blank beside a literal `#` melts into it, at the end too.
    ("c# x#", ["c", "x"], ["c#x"], ["#c#", "c#x", "#x#"]),
    ("#", [], [], []),
    # Kana and Hangul are words of an alphabet; half-width kana compose.
    ("ｶﾞ 소파", ["ガ", "소파"], ["ガ#소파"], ["#ガ#", "ガ#소", "#소파", "소파#"]),
    # ASCII symbols part words, `$` among them; symbols beyond ASCII do not.
    ("a$b 5€", ["a", "b", "5€"], ["a#b", "b#5€"], ["#a$", "a$b", "$b#", "b#5", "#5€", "5€#"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "unigrams", "bigrams", "trigrams"), BY_HAND)
def test_by_hand(text: str, unigrams: list[str], bigrams: list[str], trigrams: list[str]) -> None:
    found = {kind: decoded(ragged)[0] for kind, ragged in ngram_tokens([text]).items()}
    assert found == {"unigram": unigrams, "bigram": bigrams, "char_trigram": trigrams}


def test_reference_agrees_with_the_hand() -> None:
    for text, unigrams, bigrams, trigrams in BY_HAND:
        assert reference.ngrams(text) == {
            "unigram": unigrams, "bigram": bigrams, "char_trigram": trigrams,
        }  # fmt: skip


def test_against_reference_on_mixed_scripts() -> None:
    texts = corpus(3000, seed=1)
    normalised = [value.decode() for value in normalise(texts).numpy()]
    tokens = {kind: decoded(ragged) for kind, ragged in ngram_tokens(texts).items()}
    for row, text in enumerate(texts):
        assert normalised[row] == reference.normalise(text), ascii(text)
        assert {kind: rows[row] for kind, rows in tokens.items()} == reference.ngrams(text), ascii(
            text
        )


def test_graph_eager_and_dataset_agree() -> None:
    texts = corpus(200, seed=2)
    eager = ngram_tokens(texts)
    graph = tf.function(ngram_tokens)(tf.constant(texts))
    batches = list(tf.data.Dataset.from_tensor_slices(texts).batch(7).map(ngram_tokens))
    for kind, ragged in eager.items():
        assert graph[kind].to_list() == ragged.to_list()
        assert [row for batch in batches for row in batch[kind].to_list()] == ragged.to_list()
        assert [ngram_tokens([text])[kind].to_list()[0] for text in texts[:20]] == (
            ragged.to_list()[:20]
        )


def test_packed_trigrams_are_the_trigrams() -> None:
    texts = corpus(300, seed=3)
    packed = packed_trigrams(normalise(texts))
    rows = tf.RaggedTensor.from_row_splits(*packed).to_list()
    strings = decoded(ngram_tokens(texts)["char_trigram"])
    assert rows == [[pack_trigram(token) for token in row] for row in strings]


def test_no_rows() -> None:
    assert all(
        ragged.to_list() == [] for ragged in ngram_tokens(tf.constant([], tf.string)).values()
    )


def test_normalising_twice_changes_nothing() -> None:
    once = normalise(corpus(500, seed=4))
    assert normalise(once).numpy().tolist() == once.numpy().tolist()


def test_broken_utf8_leaves_the_words_beside_it_alone() -> None:
    tokens = ngram_tokens([b"A\xff Sofa", "Sofa"])
    assert tokens["unigram"].to_list() == [[b"a\xff", b"sofa"], [b"sofa"]]


def decoded(ragged: tf.RaggedTensor) -> list[list[str]]:
    return [[token.decode() for token in row] for row in ragged.to_list()]
