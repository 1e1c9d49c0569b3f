"""Speed of normalise + n-grams + look-up inside tf.data, against pure Python. One JSON line.

python benchmarks/tokenizer.py
"""

import itertools
import json
import random
import re
import tempfile
import time
import unicodedata
from collections import Counter
from pathlib import Path

import tfrs_sage

import tensorflow as tf  # isort: skip

from tfrs_sage.text import NgramVocabulary, ngram_tokens

NUM_STRINGS = 100_000
WORDS_PER_STRING = 12
BATCH = 2048
REPEATS = 5


def corpus(seed: int) -> list[str]:
    """Titles of 12 words, drawn with Zipf's frequencies from 20,000 made-up words."""
    rng = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(rng.choices(letters, k=rng.randint(2, 9))) for _ in range(20_000)]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    return [
        " ".join(
            word.title() if rng.random() < 0.3 else word
            for word in rng.choices(words, weights, k=WORDS_PER_STRING)
        )
        for _ in range(NUM_STRINGS)
    ]


def write_vocabulary(folder: Path, texts: list[str]) -> None:
    """The n-grams of some of the texts, most frequent first."""
    for kind, ragged in ngram_tokens(texts[:20_000]).items():
        counts = Counter(ragged.flat_values.numpy().tolist())
        lines = [token for token, _ in counts.most_common()]
        (folder / f"{kind}.txt").write_bytes(b"\n".join(lines) + b"\n")


def in_tensorflow(vocabulary: NgramVocabulary, texts: tf.Tensor) -> float:
    """Strings per second through tf.data, the best of several passes."""
    data = tf.data.Dataset.from_tensor_slices(texts).batch(BATCH)
    data = data.map(vocabulary, num_parallel_calls=tf.data.AUTOTUNE).prefetch(4)
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        for _batch in data:
            pass
        seconds.append(time.perf_counter() - start)
    return NUM_STRINGS / min(seconds)


def in_python(ids: dict[str, int], texts: list[str]) -> float:
    """Strings per second of the same tokenization written with `re` and `unicodedata`."""
    words = re.compile(r"[^\W_]+")
    start = time.perf_counter()
    for text in texts:
        folded = unicodedata.normalize("NFKC", text.casefold())
        unigrams = words.findall(folded)
        framed = "#" + "#".join(folded.split()) + "#"
        tokens = [
            *unigrams,
            *("#".join(pair) for pair in itertools.pairwise(unigrams)),
            *(framed[place : place + 3] for place in range(len(framed) - 2)),
        ]
        [found for token in tokens if (found := ids.get(token)) is not None]
    return len(texts) / (time.perf_counter() - start)


def main() -> None:
    texts = corpus(seed=0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_vocabulary(folder, texts)
        files = [folder / f"{kind}.txt" for kind in ("unigram", "bigram", "char_trigram")]
        tokens = [line for file in files for line in file.read_text("utf-8").split("\n")]
        ids = {token: number for number, token in enumerate(tokens, 1)}
        result = {
            "benchmark": "tokenizer",
            "version": tfrs_sage.__version__,
            "num_strings": NUM_STRINGS,
            "words_per_string": WORDS_PER_STRING,
            "strings_per_second": round(in_tensorflow(NgramVocabulary(folder), tf.constant(texts))),
            "peer": "pure Python (re, unicodedata)",
            "peer_strings_per_second": round(in_python(ids, texts[:20_000])),
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
