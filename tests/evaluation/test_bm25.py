import numpy as np
import pytest

from tfrs_sage.evaluation.bm25 import Bm25

DOCUMENTS = ["Red sofa, red legs", "blue sofa", "", "oak table size 8 for a sofa corner"]


def by_the_formula(text, documents, k1=1.5, b=0.75):
    """Lucene's BM25, written out."""
    words = [one.lower().replace(",", "").split() for one in documents]
    mean = np.mean([len(one) for one in words])
    total = np.zeros(len(documents))
    for word in text.lower().split():
        holding = sum(word in one for one in words)
        idf = np.log(1 + (len(words) - holding + 0.5) / (holding + 0.5))
        for row, one in enumerate(words):
            tf = one.count(word)
            total[row] += idf * tf / (tf + k1 * (1 - b + b * len(one) / mean))
    return total


@pytest.mark.parametrize("text", ["red sofa", "Sofa 8", "unknown words", "table unknown"])
def test_is_the_formula(text):
    np.testing.assert_allclose(
        Bm25(DOCUMENTS).scores(text), by_the_formula(text, DOCUMENTS), rtol=1e-5, atol=1e-7
    )


def test_nothing_to_match():
    assert Bm25(DOCUMENTS).scores("!?").tolist() == [0.0] * 4
    assert Bm25(["", "..."]).scores("sofa").tolist() == [0.0, 0.0]
