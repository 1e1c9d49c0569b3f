import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrs_sage.layers import HashEmbeddingBag

TOKENS, LENGTHS = np.array([1, 2, 3, 2, 7], np.int32), np.array([[2, 0], [1, 2]], np.int32)


@pytest.fixture
def layer():
    keras.utils.set_random_seed(0)
    layer = HashEmbeddingBag(vocabulary_size=10, dim=4, table_size=11)
    layer(TOKENS, LENGTHS)
    return layer


def oracle(layer, tokens):
    """Svenstrup et al.: sum over tokens of sum over hashes of importance * table row."""
    table, importance = layer.table.numpy(), layer.importance.numpy()
    bag = np.zeros(4)
    for token in tokens:
        for h, (a, b, p, n) in enumerate(layer.hash_functions.tolist()):
            bag += importance[token, h] * table[(a * int(token) + b) % p % n]
    centred = bag - bag.mean()
    return centred / np.sqrt(bag.var() + layer.epsilon)


def test_bags_by_the_papers_formula(layer) -> None:
    output = layer(TOKENS, LENGTHS).numpy()
    assert output.shape == (2, 2, 4)
    for row, column, tokens in ((0, 0, [1, 2]), (1, 0, [3]), (1, 1, [2, 7])):
        np.testing.assert_allclose(output[row, column], oracle(layer, tokens), atol=1e-5)


def test_gradient_of_the_table_is_sparse(layer) -> None:
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(TOKENS, LENGTHS) ** 3)
    gradient = tape.gradient(loss, layer.table.value)
    assert isinstance(gradient, tf.IndexedSlices)


def test_two_hashes_differ_and_configuration_round_trip(layer) -> None:
    again = HashEmbeddingBag.from_config(layer.get_config())
    np.testing.assert_array_equal(again.hash_functions, layer.hash_functions)
    assert len({tuple(row) for row in layer.hash_functions}) == 2


def test_gradients_are_those_of_the_plain_formula(layer) -> None:
    """The bag sums have a gradient of their own: against TensorFlow's, token by token."""
    random = np.random.default_rng(0)
    tokens = random.integers(0, 10, 40).astype(np.int32)  # most ids in several bags
    lengths = np.array([[7, 0], [20, 9], [4, 0]], np.int32)
    weights = tf.constant(random.normal(size=(3, 2, 4)), tf.float32)
    variables = [layer.table.value, layer.importance.value]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(weights * layer(tokens, lengths))
    ours = [tf.convert_to_tensor(g) for g in tape.gradient(loss, variables)]
    with tf.GradientTape() as tape:
        bags = []
        for bag in np.split(tokens, np.cumsum(lengths.ravel())[:-1]):
            total = tf.zeros([4])
            for token in bag.tolist():
                for h, (a, b, p, n) in enumerate(layer.hash_functions.tolist()):
                    row = tf.gather(layer.table.value, (a * token + b) % p % n)
                    total += tf.gather(layer.importance.value, token)[h] * row
            bags.append(total)
        plain = tf.reduce_sum(weights * tf.reshape(layer.norm(tf.stack(bags)), [3, 2, 4]))
    np.testing.assert_allclose(loss, plain, rtol=1e-5)
    for found, gradient in zip(ours, tape.gradient(plain, variables), strict=True):
        np.testing.assert_allclose(found, tf.convert_to_tensor(gradient), atol=1e-4)


def test_no_tokens_at_all(layer) -> None:
    output = layer(np.zeros(0, np.int32), np.zeros((2, 3), np.int32))
    np.testing.assert_array_equal(output, np.zeros((2, 3, 4)))
