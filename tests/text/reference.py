"""The tokenizer once more in plain Python: `unicodedata` and code point tests, no regular
expressions and no TensorFlow, so that it shares nothing with what it judges."""

import itertools
import unicodedata

# Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties), which NFKC_Casefold drops.
IGNORABLE = {
    0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFEFF, 0xFFA0,
    *range(0x180B, 0x1810), *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070),
    *range(0xFE00, 0xFE10), *range(0xFFF0, 0xFFF9), *range(0x1BCA0, 0x1BCA4),
    *range(0x1D173, 0x1D17B), *range(0xE0000, 0xE1000),
}  # fmt: skip
CJK = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


def normalise(text: str) -> str:
    shown = "".join(c for c in text if ord(c) not in IGNORABLE)
    once = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", shown).casefold())
    return "".join(c for c in once if ord(c) not in IGNORABLE)


def is_space(c: str) -> bool:
    return c in "\t\n\r " or unicodedata.category(c) == "Zs"


def is_punctuation(c: str) -> bool:
    ascii_sign = 33 <= ord(c) <= 126 and not c.isalnum()
    return ascii_sign or unicodedata.category(c).startswith("P")


def words(text: str) -> list[str]:
    found: list[str] = []
    inside = False
    for c in normalise(text):
        if is_space(c) or is_punctuation(c):
            inside = False
        elif any(low <= ord(c) <= high for low, high in CJK):
            found.append(c)
            inside = False
        elif inside:
            found[-1] += c
        else:
            found.append(c)
            inside = True
    return found


def trigrams(text: str) -> list[str]:
    framed = ["#"]
    for c in [*normalise(text), " "]:
        if not is_space(c):
            framed.append(c)
        elif framed[-1] != "#":
            framed.append("#")
    return ["".join(framed[i : i + 3]) for i in range(len(framed) - 2)]


def ngrams(text: str) -> dict[str, list[str]]:
    unigrams = words(text)
    return {
        "unigram": unigrams,
        "bigram": ["#".join(pair) for pair in itertools.pairwise(unigrams)],
        "char_trigram": trigrams(text),
    }
