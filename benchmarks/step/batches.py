"""Synthetic batches of the model's own format, as NumPy arrays: both sides draw the same ones.

NumPy is all that is needed here, so that the side in the other environment can import it.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

TASK = "search/product/click"
TEXTS = ("title", "description", "product_type", "brand", "color")
NUM_IMAGES, IMAGE_DIM = 4, 256
# N-grams of a text where it is given (mean of a log-normal), and how often it is given. Of n
# words, n are unigrams, n - 1 bigrams, about 5 n character trigrams.
TEXT_LENGTHS = (90, 230, 50, 14, 9)
TEXT_PRESENT = (1.0, 0.8, 0.9, 0.9, 0.6)
LENGTH_SPREAD = 0.45
KIND_SHARES = (0.15, 0.13, 0.72)  # unigrams, bigrams, character trigrams
NUM_PRODUCTS = 1_000_000
NUM_QUERIES = 200_000


class Zipf:
    """Numbers 0..n-1, number r in proportion to 1 / (r + 2.7), the shape of words in a text."""

    def __init__(self, n: int) -> None:
        self.cumulative = np.cumsum(1.0 / (np.arange(n) + 2.7))

    def draw(self, random: np.random.Generator, size: int) -> npt.NDArray[np.int64]:
        points = random.random(size) * self.cumulative[-1]
        return np.searchsorted(self.cumulative, points).astype(np.int64)


class Batches:
    """Draws batches.

    Args:
        ngrams: vocabulary sizes of unigrams, bigrams and character trigrams.
        wordpieces: vocabulary size of the query encoder.
        max_length: tokens of a query at most.
    """

    def __init__(self, ngrams: tuple[int, int, int], wordpieces: int, max_length: int) -> None:
        self.kinds = [Zipf(size) for size in ngrams]
        self.offsets = np.cumsum([1, *ngrams[:2]])
        self.pieces = Zipf(wordpieces - 4)
        self.products, self.queries = Zipf(NUM_PRODUCTS), Zipf(NUM_QUERIES)
        self.max_length = max_length

    def draw(self, seed: int, num_pairs: int, num_random: int) -> dict[str, Any]:
        """One batch of a single task, as `RetrievalModel` takes it (its docstring)."""
        random = np.random.default_rng(seed)
        pairs = {
            "query": self._query(random, num_pairs),
            "query_id": self.queries.draw(random, num_pairs),
            "candidate": self._products(random, num_pairs),
            "candidate_id": self.products.draw(random, num_pairs),
        }
        negatives = {
            "features": self._products(random, num_random),
            "id": random.integers(0, NUM_PRODUCTS, num_random),
        }
        return {"pairs": {TASK: pairs}, "random": {"product": negatives}}

    def _query(self, random: np.random.Generator, rows: int) -> dict[str, Any]:
        """Mean of about 7 tokens with [CLS] and [SEP], one in a hundred above 20."""
        inner = np.ceil(random.lognormal(np.log(4.2), 0.6, rows)).astype(np.int64)
        lengths = np.minimum(inner + 2, self.max_length)
        mask = np.arange(lengths.max())[None, :] < lengths[:, None]
        ids = np.zeros(mask.shape, np.int32)
        ids[mask] = 4 + self.pieces.draw(random, int(lengths.sum()))
        ids[:, 0], ids[np.arange(rows), lengths - 1] = 2, 3
        return {"token_ids": ids, "padding_mask": mask}

    def _products(self, random: np.random.Generator, rows: int) -> dict[str, Any]:
        mean = np.log(TEXT_LENGTHS) - LENGTH_SPREAD**2 / 2
        lengths = np.ceil(random.lognormal(mean, LENGTH_SPREAD, (rows, len(TEXTS))))
        lengths = np.where(random.random(lengths.shape) < TEXT_PRESENT, lengths, 0)
        lengths = lengths.astype(np.int32)
        total = int(lengths.sum())
        kind = random.choice(3, size=total, p=KIND_SHARES)
        tokens = np.zeros(total, np.int32)
        for i, zipf in enumerate(self.kinds):
            places = np.flatnonzero(kind == i)
            tokens[places] = self.offsets[i] + zipf.draw(random, len(places))
        return {
            "text_tokens": tokens,
            "text_lengths": lengths,
            "images": random.normal(0.0, 0.06, (rows, NUM_IMAGES, IMAGE_DIM)).astype(np.float32),
            "num_images": np.full(rows, NUM_IMAGES, np.int32),
        }


def checksum(batch: Any) -> float:
    """One number of a batch, to show that both sides drew the same."""
    if isinstance(batch, dict):
        return sum(checksum(value) for value in batch.values())
    return float(np.asarray(batch, np.float64).sum())
