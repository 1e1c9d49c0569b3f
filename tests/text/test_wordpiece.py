"""WordPiece pieces of small word lists."""

import pytest

import tfrs_sage  # noqa: F401  isort: skip
from tfrs_sage.text import learn_wordpiece

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
COUNTS = [("sofa", 50), ("sofas", 30), ("bed", 40), ("beds", 20), (",", 60), ("lamp", 10)]


def test_special_tokens_first_and_frequent_words_whole() -> None:
    pieces = learn_wordpiece(COUNTS, vocabulary_size=60)
    assert pieces[:5] == SPECIAL
    assert {"sofa", "bed", ",", "##s"} <= set(pieces)
    assert len(pieces) == len(set(pieces)) <= 60


def test_every_word_can_be_spelt() -> None:
    pieces = set(learn_wordpiece(COUNTS, vocabulary_size=60))
    for word, _ in COUNTS:
        assert word[0] in pieces
        assert all(f"##{letter}" in pieces for letter in word[1:])


def test_order_and_repetition_of_counts_do_not_matter() -> None:
    halves = [(word, count // 2) for word, count in COUNTS] * 2
    assert learn_wordpiece(halves[::-1], 60) == learn_wordpiece(COUNTS, 60)


def test_no_words_gives_special_tokens() -> None:
    assert learn_wordpiece([], 300) == SPECIAL


def test_too_small_a_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"greater than 5.*Received: 5"):
        learn_wordpiece(COUNTS, 5)
