"""The exported encoder: equal to the trained tower, smaller when its weights are."""

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from tfrs_sage.errors import InputError
from tfrs_sage.export.query_tower import ExportedQueryTower
from tfrs_sage.export.stored_weights import StoredMatrix, StoredTable, quantise
from tfrs_sage.export.text_encoder import TextEncoder
from tfrs_sage.towers import QueryTokenizer, QueryTower, QueryTowerConfig
from tfrs_sage.towers.features import QueryFeatures

WORDS = [f"w{number}" for number in range(400)]
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "sofa", "oak", "##s", *WORDS]
TEXTS = ["red sofa", "", "oak oak oak sofas red sofa w1 w2 w3 w4", "w7", "sofas w399 red"]
SIZE = {"num_layers": 2, "hidden_dim": 16, "num_heads": 2, "intermediate_dim": 32}
BACKBONES = ("BertBackbone", "DistilBertBackbone", "RobertaBackbone")


def make_tower(kind: str = "DistilBertBackbone", width: int = 6, **settings) -> QueryTower:
    """A tower with no weight at its initial value: biases and norms count too."""
    config = QueryTowerConfig(max_length=8, **settings)
    backbone = getattr(keras_hub.models, kind)(vocabulary_size=len(PIECES), **SIZE)
    tower = QueryTower(backbone, config, width)
    tower.build()
    rng = np.random.default_rng(0)
    for variable in tower.variables:
        variable.assign(variable + rng.normal(scale=0.2, size=variable.shape))
    return tower


@pytest.fixture(scope="module")
def tokenizer() -> QueryTokenizer:
    return QueryTokenizer(QueryTowerConfig(max_length=8), PIECES)


@pytest.mark.parametrize("kind", BACKBONES)
@pytest.mark.parametrize(
    "settings", [{"pooling": "mean"}, {"pooling": "cls"}, {"head": "none", "frozen_layers": 1}]
)
def test_it_embeds_as_the_tower_does(tokenizer, kind, settings) -> None:
    tower = make_tower(kind, 16 if settings.get("head") == "none" else 6, **settings)
    encoder = TextEncoder(tower, "float32")
    tokens = tokenizer(tf.constant(TEXTS))
    expected = tower(tokens)
    np.testing.assert_allclose(encoder(tokens), expected, atol=1e-5)
    one_by_one = [encoder(tokenizer(tf.constant([text])))[0] for text in TEXTS]
    np.testing.assert_allclose(one_by_one, expected, atol=1e-5)
    assert encoder(tokenizer(tf.constant([], tf.string))).shape == (0, expected.shape[1])


def test_padding_and_other_texts_do_not_matter(tokenizer) -> None:
    encoder = TextEncoder(make_tower(), "float32")
    tokens = tokenizer(tf.constant(TEXTS))
    wider = {key: tf.pad(tokens[key], [[0, 0], [0, 3]]) for key in tokens}
    wider["token_ids"] = tf.where(wider["padding_mask"], wider["token_ids"], 7)
    np.testing.assert_allclose(encoder(wider), encoder(tokens), atol=1e-6)
    order = [4, 2, 0]
    some = {key: tf.gather(tokens[key], order) for key in tokens}
    np.testing.assert_allclose(encoder(some), tf.gather(encoder(tokens), order), atol=1e-6)


def test_int8_by_hand() -> None:
    weights = np.float32([[1.0, -0.2, 0.0], [-2.54, 0.1, 0.0]])
    numbers, scales = quantise(weights, axis=0)
    assert numbers.tolist() == [[50, -127, 0], [-127, 64, 0]]
    np.testing.assert_allclose(scales, [[0.02, 0.2 / 127, 1.0]], rtol=1e-6)
    np.testing.assert_allclose(quantise(weights, axis=1)[1], [[1 / 127], [0.02]], rtol=1e-6)
    inputs = np.float32([[1.0, 2.0], [0.5, -1.0]])
    product = StoredMatrix(weights, "int8")(tf.constant(inputs))
    np.testing.assert_allclose(product, inputs @ (numbers * scales), rtol=1e-5)
    table = StoredTable(weights, "int8")
    np.testing.assert_allclose(table(tf.constant([1, 1, 0])), weights[[1, 1, 0]], atol=0.011)


@pytest.mark.parametrize(("format", "cosine"), [("float16", 0.99999), ("int8", 0.999)])
def test_smaller_weights_embed_alike(tokenizer, format, cosine) -> None:
    tower = make_tower()
    tokens = tokenizer(tf.constant(TEXTS))
    smaller = TextEncoder(tower, format)(tokens).numpy()
    np.testing.assert_allclose(np.linalg.norm(smaller, axis=1), 1.0, atol=1e-5)
    assert np.sum(smaller * tower(tokens), axis=1).min() >= cosine
    assert not np.array_equal(smaller, TextEncoder(tower, "float32")(tokens))


def test_every_weight_is_saved_once_in_its_format(tokenizer, tmp_path) -> None:
    tower = make_tower()
    (positions,) = (v for v in tower.weights if v.path.split("/")[-2] == "position_embedding")
    numbers = sum(np.size(one) for one in tower.weights) - np.size(positions[8:])
    held, saved = {}, {}
    for format in ("float32", "float16", "int8"):
        module = ExportedQueryTower(tower, QueryFeatures(tokenizer), format)
        held[format] = sum(one.numpy().nbytes for one in module.variables)
        if format == "float16":
            continue
        folder = tmp_path / format
        options = tf.saved_model.SaveOptions(namespace_whitelist=["TFText"])
        tf.saved_model.save(module, str(folder), signatures=module.signatures(), options=options)
        data = (folder / "variables").glob("variables.data-*")
        saved[format] = sum(path.stat().st_size for path in data)
        found = tf.saved_model.load(str(folder)).signatures["serving_default"](
            query=tf.constant(TEXTS)
        )
        np.testing.assert_allclose(found["embedding"], module(tf.constant(TEXTS)), atol=1e-5)
    assert held["float32"] == 4 * numbers
    assert held["float16"] < 0.55 * held["float32"]
    assert held["int8"] < 0.4 * held["float32"]
    for format, size in saved.items():
        assert held[format] <= size < held[format] + 10_000


def test_other_backbones_are_exported_as_they_are(tokenizer) -> None:
    backbone = keras_hub.models.AlbertBackbone(
        vocabulary_size=len(PIECES), embedding_dim=8, num_groups=1, num_inner_repetitions=1, **SIZE
    )
    tower = QueryTower(backbone, QueryTowerConfig(max_length=8), 6)
    features = QueryFeatures(tokenizer)
    with pytest.raises(
        InputError, match=r"Found: embedding_projection in .*--query-weights float32"
    ):
        ExportedQueryTower(tower, features, "int8")
    module = ExportedQueryTower(tower, features)
    np.testing.assert_allclose(
        module(tf.constant(TEXTS)), tower(tokenizer(tf.constant(TEXTS))), atol=1e-5
    )
    assert len(module.variables) == len(tower.variables)
    assert all(not isinstance(one, keras.Variable) for one in module.kept)
