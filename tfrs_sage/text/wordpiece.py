"""WordPiece vocabularies for a query tower that is trained from scratch."""

from collections import Counter
from collections.abc import Iterable

from tensorflow_text.tools.wordpiece_vocab import wordpiece_tokenizer_learner_lib as learner

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def learn_wordpiece(word_counts: Iterable[tuple[str, int]], vocabulary_size: int) -> list[str]:
    """Learns sub-word pieces from the frequency of words.

    Args:
        word_counts: (word, count) pairs; words in lower case (NFKC and case-folded), punctuation
            as words of its own. The order does not matter and a word may come several times.
        vocabulary_size: int. The most pieces to learn, special tokens included.

    Returns:
        The pieces, [PAD] [UNK] [CLS] [SEP] [MASK] first; a piece inside a word starts with `##`.
        Every character of the counted words is among them as far as the size allows.

    Raises:
        ValueError: `vocabulary_size` has no room for more than the special tokens.
    """
    if vocabulary_size <= len(SPECIAL_TOKENS):
        raise ValueError(
            f"`vocabulary_size` must be greater than {len(SPECIAL_TOKENS)}, the number of special "
            f"tokens. Received: {vocabulary_size}."
        )
    totals: Counter[str] = Counter()
    for word, count in word_counts:
        totals[word] += count
    if not totals:
        return list(SPECIAL_TOKENS)
    # The learner's result depends on the order of its input: sort, so that it depends on the
    # counts alone.
    ordered = sorted(totals.items(), key=lambda item: (-item[1], item[0]))
    pieces: list[str] = learner.learn(
        ordered,
        vocab_size=vocabulary_size,
        reserved_tokens=list(SPECIAL_TOKENS),
        include_joiner_token=True,
        lower_thresh=2,
    )
    return list(dict.fromkeys([*SPECIAL_TOKENS, *pieces]))[:vocabulary_size]
