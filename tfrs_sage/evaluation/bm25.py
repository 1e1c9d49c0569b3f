"""BM25 over the words of the candidates: what a search engine without any learning answers."""

from collections.abc import Sequence

import bm25s
import numpy as np
import numpy.typing as npt

# Every run of letters and digits is a word, of one character too: sizes are such words.
WORDS = r"(?u)\b\w+\b"


class Bm25:
    """Scores of all documents for a text.

    `sum over the query's words w of idf(w) tf / (tf + k1 (1 - b + b length / mean length))`, in
    Lucene's variant of idf, which is never negative. Words are compared in lower case, without
    stop words or stems, which would be of one language.

    Args:
        documents: `[n]` texts; empty ones score 0.
        k1: how soon more of the same word stops counting.
        b: how far long documents are marked down.

    References:
        Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond (2009);
        variants and the library bm25s: Lù, arXiv 2407.03618.
    """

    def __init__(self, documents: Sequence[str], k1: float = 1.5, b: float = 0.75) -> None:
        self._count = len(documents)
        tokens = _tokens(documents)
        self._index: bm25s.BM25 | None = None
        if any(tokens):
            self._index = bm25s.BM25(k1=k1, b=b, method="lucene")
            self._index.index(tokens, show_progress=False)

    def scores(self, text: str) -> npt.NDArray[np.float32]:
        """float32 `[n]`; 0 for documents without a word of the text."""
        tokens = _tokens([text])[0]
        if self._index is None or not tokens:
            return np.zeros(self._count, np.float32)
        found: npt.NDArray[np.float32] = self._index.get_scores(tokens)
        return found


def _tokens(texts: Sequence[str]) -> list[list[str]]:
    words: list[list[str]] = bm25s.tokenize(
        list(texts), token_pattern=WORDS, stopwords=None, return_ids=False, show_progress=False
    )
    return words
