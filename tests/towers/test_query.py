"""The query tower and its tokenizer: padding, groups by length, graph == tf.data."""

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from tfrs_sage.errors import InputError
from tfrs_sage.towers import QueryTokenizer, QueryTower, QueryTowerConfig, build_backbone

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "sofa", "lamp", "##s", "oak"]


def config(**settings):
    small = {"num_layers": 1, "hidden_dim": 16, "num_heads": 2, "intermediate_dim": 32}
    return QueryTowerConfig(**{**small, "dropout": 0.0, "max_length": 8, **settings})


@pytest.fixture
def tower():
    keras.utils.set_random_seed(0)
    tower = QueryTower(build_backbone(config(), len(PIECES)), config(), 6)
    tower.build()
    return tower


TEXTS = ["red sofa", "lamps", "", "oak oak oak oak red sofa lamp oak oak", "  Red \t sofa "]


def test_tokens_by_hand() -> None:
    tokens = QueryTokenizer(config(), PIECES)(tf.constant(TEXTS))
    expected = [
        [2, 5, 6, 3, 0, 0, 0, 0],
        [2, 7, 8, 3, 0, 0, 0, 0],
        [2, 3, 0, 0, 0, 0, 0, 0],
        [2, 9, 9, 9, 9, 5, 6, 3],  # cut at 8, [CLS] and [SEP] included
        [2, 5, 6, 3, 0, 0, 0, 0],
    ]
    np.testing.assert_array_equal(tokens["token_ids"], expected)
    np.testing.assert_array_equal(tokens["padding_mask"], np.array(expected) != 0)


def test_single_is_batched_is_tf_data(tower) -> None:
    tokenizer = QueryTokenizer(config(), PIECES)
    together = np.asarray(tower(tokenizer(tf.constant(TEXTS))))
    one_by_one = [np.asarray(tower(tokenizer(tf.constant([text]))))[0] for text in TEXTS]
    np.testing.assert_allclose(together, one_by_one, atol=1e-5)
    for batch in tf.data.Dataset.from_tensor_slices(TEXTS).batch(5).map(tokenizer):
        np.testing.assert_allclose(tower(batch), together, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 3, 5, 40])
def test_groups_by_length_change_nothing(tower, rows) -> None:
    tokens = QueryTokenizer(config(), PIECES)(tf.constant((TEXTS * 8)[:rows]))
    expected = tower.encode(tokens["token_ids"], tokens["padding_mask"])
    np.testing.assert_allclose(tower(tokens, training=True), expected, atol=1e-5)
    np.testing.assert_allclose(tower(tokens), expected, atol=1e-5)


@pytest.mark.parametrize("lowercase", [True, False])
def test_case_is_the_presets_and_form_and_space_are_ours(tmp_path, lowercase) -> None:
    """Full-width letters and no-break spaces are plain ones; case stays where the preset keeps."""
    pieces = [*PIECES, "Red", "sofa-bed", "ﬁr"]
    tokenizer = keras_hub.tokenizers.DistilBertTokenizer(pieces, lowercase=lowercase)
    build_backbone(config(), len(pieces)).save_to_preset(tmp_path)
    tokenizer.save_to_preset(tmp_path)
    texts = ["Red sofa", "Ｒｅｄ\u00a0ｓｏｆａ", "  Red\u3000\n sofa\t", "red sofa"]
    tokens = QueryTokenizer(config(preset=str(tmp_path)))(tf.constant(texts))["token_ids"]
    red = 5 if lowercase else pieces.index("Red")
    np.testing.assert_array_equal(tokens, [[2, red, 6, 3]] * 3 + [[2, 5, 6, 3]])


def test_without_a_head_the_embedding_is_the_pooled_state() -> None:
    backbone = build_backbone(config(), len(PIECES))
    tower = QueryTower(backbone, config(pooling="cls", head="none"), 16)
    tokens = QueryTokenizer(config(), PIECES)(tf.constant(["red sofa"]))
    state = np.asarray(backbone({**tokens})[:, 0])
    np.testing.assert_allclose(tower(tokens), state / np.linalg.norm(state), atol=1e-5)
    assert len(tower.trainable_variables) == len(backbone.trainable_variables)
    with pytest.raises(
        InputError, match=r"embedding_dim 6, width 16, lexical_dim 0\. Set embedding_dim to 16"
    ):
        QueryTower(backbone, config(head="none"), 6)


def test_cls_pooling_reads_the_first_token() -> None:
    keras.utils.set_random_seed(0)
    backbone = build_backbone(config(), len(PIECES))
    tower = QueryTower(backbone, config(pooling="cls"), 6)
    tower.build()
    tokens = QueryTokenizer(config(), PIECES)(tf.constant(["red sofa"]))
    state = backbone({**tokens})[:, 0] @ tower.head.kernel + tower.head.bias
    expected = np.asarray(state) / np.linalg.norm(state, axis=1, keepdims=True)
    np.testing.assert_allclose(tower(tokens), expected, atol=1e-5)


def test_a_preset_folder_is_loaded_with_its_weights(tmp_path) -> None:
    keras.utils.set_random_seed(3)
    backbone = build_backbone(config(), len(PIECES))
    backbone.save_to_preset(tmp_path)
    tokenizer = QueryTokenizer(config(), PIECES)
    tokenizer.tokenizer.save_to_preset(tmp_path)
    settings = config(preset=str(tmp_path))
    again = build_backbone(settings, 0)
    for ours, theirs in zip(again.weights, backbone.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    tokens = QueryTokenizer(settings)(tf.constant(TEXTS))
    np.testing.assert_array_equal(tokens["token_ids"], tokenizer(tf.constant(TEXTS))["token_ids"])
