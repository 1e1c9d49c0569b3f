"""The n-gram part of a text's embedding: TF-IDF before it learns, exact words after."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.towers.test_query import PIECES, config
from tfrs_sage.errors import InputError
from tfrs_sage.layers import HashEmbeddingBag
from tfrs_sage.text.vocabulary import NgramVocabulary, inverse_frequencies
from tfrs_sage.towers import QueryTokenizer, QueryTower, build_backbone
from tfrs_sage.towers.features import QueryFeatures
from tfrs_sage.towers.lexical import LexicalPart

SIZE = 500


def weighted_counts(bags: list[list[int]], weights: np.ndarray) -> np.ndarray:
    counts = np.zeros((len(bags), SIZE))
    for row, bag in enumerate(bags):
        np.add.at(counts[row], bag, weights[bag])
    return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def flat(bags: list[list[int]]) -> tuple[tf.Tensor, tf.Tensor]:
    lengths = tf.constant([[len(bag)] for bag in bags], tf.int32)
    return tf.constant([one for bag in bags for one in bag], tf.int32), lengths


@pytest.fixture(scope="module")
def started() -> tuple[HashEmbeddingBag, np.ndarray]:
    weights = np.random.default_rng(0).uniform(0.5, 8.0, SIZE)
    bag = HashEmbeddingBag(SIZE, dim=2048, table_size=5000)
    bag.build((None,), (None, None))
    bag.start_as_projection(weights)
    return bag, weights


def test_it_starts_as_the_cosine_of_weighted_counts(started) -> None:
    bag, weights = started
    rng = np.random.default_rng(1)
    bags = [rng.integers(1, SIZE, rng.integers(3, 30)).tolist() for _ in range(40)]
    part = LexicalPart(bag, share=0.5)
    encoded = tf.zeros([40, 3])  # nothing from the encoder: the n-grams alone
    found = np.asarray(part(encoded, *flat(bags)))[:, 3:]
    exact = weighted_counts(bags, weights)
    # A projection to d dimensions errs by about 1 / sqrt(d) = 0.022.
    np.testing.assert_allclose(found @ found.T, exact @ exact.T, atol=0.11)
    errors = (found @ found.T - exact @ exact.T)[~np.eye(40, dtype=bool)]
    assert np.sqrt(np.mean(errors**2)) < 0.03


def test_the_score_is_the_weighted_sum_of_two_cosines(started) -> None:
    bag, _ = started
    part = LexicalPart(bag, share=0.3)
    encoded = keras.ops.normalize(np.random.default_rng(2).normal(size=(4, 5)).astype("f"))
    joined = np.asarray(part(encoded, *flat([[1, 2], [2, 3], [], [1, 2]])))
    np.testing.assert_allclose(np.linalg.norm(joined, axis=1), 1.0, atol=1e-5)
    lexical = joined[:, 5:] / np.sqrt(0.3)
    expected = 0.7 * np.asarray(encoded) @ np.asarray(encoded).T + 0.3 * lexical @ lexical.T
    rows = [0, 1, 3]
    np.testing.assert_allclose(
        (joined @ joined.T)[rows][:, rows], expected[rows][:, rows], atol=1e-5
    )
    # No known n-gram: the encoder has all of it.
    np.testing.assert_allclose(joined[2], [*np.asarray(encoded)[2], *np.zeros(bag.dim)], atol=1e-6)


def test_weights_come_from_the_counts_of_the_vocabulary(tmp_path) -> None:
    tokens = {"unigram": "red\nxj-9\n", "bigram": "", "char_trigram": "#re\n"}
    counts = {"unigram": "99\n1\n", "bigram": "", "char_trigram": "9\n"}
    for kind in tokens:
        (tmp_path / f"{kind}.txt").write_text(tokens[kind])
    with pytest.raises(InputError, match="must hold how often each n-gram occurs"):
        inverse_frequencies(tmp_path, 99)
    for kind in counts:
        (tmp_path / f"{kind}.counts.txt").write_text(counts[kind])
    expected = [0.0, np.log(2), np.log(100), np.log(12)]
    np.testing.assert_allclose(inverse_frequencies(tmp_path, 99), expected, rtol=1e-6)
    (tmp_path / "unigram.counts.txt").write_text("99\n")
    with pytest.raises(InputError, match="a count for each of the 2 tokens"):
        inverse_frequencies(tmp_path, 99)


def test_a_part_number_that_the_encoder_cannot_read(tmp_path) -> None:
    """Every part number is [UNK] to the encoder: only the n-grams can tell them apart."""
    titles = [f"lamp xq{number:03d}" for number in range(60)]
    words = ["lamp", *(f"xq{number:03d}" for number in range(60))]
    for kind, found in {"unigram": words, "bigram": [], "char_trigram": []}.items():
        (tmp_path / f"{kind}.txt").write_text("".join(f"{word}\n" for word in found))
        (tmp_path / f"{kind}.counts.txt").write_text("60\n" + "1\n" * 60 if found else "")
    vocabulary = NgramVocabulary(tmp_path)
    settings = config(lexical_dim=64)
    features = QueryFeatures(QueryTokenizer(settings, PIECES), vocabulary)

    def hits(bag: HashEmbeddingBag | None) -> float:
        keras.utils.set_random_seed(0)
        tower = QueryTower(build_backbone(settings, len(PIECES)), settings, 80, bag)
        tower.build()
        embedded = [np.asarray(tower(features({"text": t}))) for t in (titles, words[1:])]
        return float(np.mean((embedded[1] @ embedded[0].T).argmax(axis=1) == np.arange(60)))

    bag = HashEmbeddingBag(vocabulary.size, dim=64, table_size=1000)
    bag.build((None,), (None, None))
    bag.start_as_projection(inverse_frequencies(tmp_path, 60))
    assert hits(None) < 0.1
    assert hits(bag) > 0.9


def test_the_parts_must_fit_the_width() -> None:
    bag = HashEmbeddingBag(10, dim=8, table_size=16)
    with pytest.raises(InputError, match="must leave components of embedding_dim to the encoder"):
        QueryTower(build_backbone(config(), len(PIECES)), config(lexical_dim=8), 8, bag)
    with pytest.raises(InputError, match="embedding_dim to 24"):
        small = config(lexical_dim=8, head="none")
        QueryTower(build_backbone(small, len(PIECES)), small, 20, bag)
