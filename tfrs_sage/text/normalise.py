"""Normalisation of text and the character classes that the tokenizers agree on.

References:
    OmniSearchSage (arXiv 2404.16260), section 4.2, and its published tokenizer, whose classes of
    whitespace, punctuation and CJK characters these are.
"""

import tensorflow as tf
import tensorflow_text as tf_text

from tfrs_sage.types import Tensor

# The three classes are written for the inside of an RE2 `[...]`.
# Whitespace: tab, newline, carriage return and the space separators. Other control characters are
# ordinary characters, as in the published tokenizer.
WHITESPACE = r"\t\n\r \p{Zs}"
# Punctuation: every ASCII character that is no letter, digit, space or control character (so `$`,
# `+` and `~` too, which Unicode calls symbols), and the Unicode punctuation beyond ASCII.
PUNCTUATION = r"!-/:-@\[-`{-~\p{P}"
# CJK ideographs: the unified blocks, the extensions A to E and the compatibility blocks. Kana and
# Hangul are not among them: those scripts are split at spaces like Latin.
CJK = (
    r"\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{20000}-\x{2A6DF}\x{2A700}-\x{2B73F}"
    r"\x{2B740}-\x{2B81F}\x{2B820}-\x{2CEAF}\x{F900}-\x{FAFF}\x{2F800}-\x{2FA1F}"
)


def normalise(strings: Tensor) -> Tensor:
    """NFKC with full case folding, of UTF-8 strings.

    The transform is Unicode's NFKC_Casefold: compatibility characters become their plain form
    (`ﬁ` -> `fi`, `Ａ` -> `a`), case is folded fully (`ß` -> `ss`), the result is composed again,
    and characters that are not drawn (soft hyphen, zero-width joiner, variation selectors) are
    dropped. One pass is a fixed point; NFKC before or after it changes nothing. Bytes that are not
    UTF-8 stay as they are; no vocabulary holds them.

    Args:
        strings: string tensor of any shape.

    Returns:
        String tensor of the same shape.
    """
    return tf_text.case_fold_utf8(tf.convert_to_tensor(strings, tf.string))
