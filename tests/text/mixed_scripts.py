"""A seeded corpus that mixes scripts, signs and blanks."""

import random

ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "0123456789",
    "éèüßñçÅØœİıſﬁ",
    "e\u0301a\u0308",  # combining marks
    "ΑΒΓΔΣασς",
    "абвгдЖЩЯ",
    "沙發紅色床頭櫃𠀀",
    "ソファベッドｶﾞ",
    "소파침대",
    "أريكةحمراءـ",
    "सोफ़ा",
    "😀👍🏽❤\ufe0f👨\u200d👩\u200d👧",
    " \t\n\r\u00a0\u3000\u2003",
    "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~¿«»—…、。",
    "ＡＢ１２Ⅷ㎏½²™",
    "\u00ad\u200b\ufeff",
    "\x0b\x0c\x1c\x85\u2028",
    "##",
)


def corpus(num_strings: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    texts = []
    for _ in range(num_strings):
        own = rng.choices(ALPHABETS, k=3)
        text = ""
        for _ in range(rng.randint(0, 12)):
            text += "".join(rng.choices(rng.choice(own), k=rng.randint(1, 5)))
            text += rng.choice(["", "", " ", "  "])
        texts.append(text)
    return texts
