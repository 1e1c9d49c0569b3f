"""The product tower: masks by consequence, every feature used, baselines, the shared title."""

import keras
import numpy as np
import pytest

from tfrs_sage.layers import HashEmbeddingBag
from tfrs_sage.schema.features import EntitySpec
from tfrs_sage.towers import EntityTower, QueryTower, build_backbone
from tfrs_sage.towers.config import EntityTowerConfig, QueryTowerConfig

SPEC = EntitySpec("product", ("title", "brand"), 3, {"graph_embedding": 4}, 10)
SMALL = {"hidden_dim": 16, "num_heads": 2, "intermediate_dim": 32, "head_dim": 16, "text_dim": 8}


def make_tower(spec=SPEC, title_encoder=None, policy="float32", **settings):
    keras.utils.set_random_seed(1)
    bag = HashEmbeddingBag(50, dim=8, table_size=31, dtype=policy)
    config = EntityTowerConfig(**{**SMALL, **settings})
    tower = EntityTower(spec, config, 12, bag, title_encoder, dtype=policy)
    tower.build()
    return tower


def make_features(rows=4, slots=3):
    rng = np.random.default_rng(0)
    lengths = np.array([[2, 1], [3, 0], [1, 2], [4, 1]], np.int32)[:rows]
    return {
        "text_tokens": rng.integers(1, 50, lengths.sum()).astype(np.int32),
        "text_lengths": lengths,
        "images": rng.normal(size=(rows, slots, 256)).astype(np.float32),
        "num_images": np.array([3, 1, 0, 2], np.int32)[:rows],
        "vectors": {"graph_embedding": rng.normal(size=(rows, 4)).astype(np.float32)},
        "vector_present": {"graph_embedding": np.array([True, False, True, True])[:rows]},
    }


@pytest.mark.parametrize("fusion", ["transformer", "sum", "sum_mlp"])
def test_embeddings_have_length_one(fusion) -> None:
    output = np.asarray(make_tower(fusion=fusion)(make_features()))
    assert output.shape == (4, 12)
    np.testing.assert_allclose(np.linalg.norm(output, axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize("fusion", ["transformer", "sum", "sum_mlp"])
def test_what_is_absent_does_not_count(fusion) -> None:
    tower, features = make_tower(fusion=fusion), make_features()
    before = np.asarray(tower(features))
    features["images"][1, 1:] = 99.0  # beyond row 1's only image
    features["vectors"]["graph_embedding"][1] = 99.0
    np.testing.assert_allclose(tower(features), before, atol=1e-5)


def test_slots_beyond_the_images_change_nothing() -> None:
    tower, features = make_tower(), make_features()
    before = np.asarray(tower(features))
    features["images"] = np.pad(features["images"], [(0, 0), (0, 17), (0, 0)])
    np.testing.assert_allclose(tower(features), before, atol=1e-5)


@pytest.mark.parametrize("change", ["image", "title", "brand", "vector"])
def test_every_present_feature_counts(change) -> None:
    tower, features = make_tower(), make_features()
    before = np.asarray(tower(features))[0]
    if change == "image":
        features["images"][0, 2] += 1.0
    elif change == "vector":
        features["vectors"]["graph_embedding"][0] += 1.0
    else:
        position = 0 if change == "title" else 2  # row 0 has two tokens of title, one of brand
        features["text_tokens"][position] = features["text_tokens"][position] % 49 + 1
    assert np.abs(np.asarray(tower(features))[0] - before).max() > 1e-4


@pytest.mark.parametrize("switch", ["use_text", "use_images", "use_vectors"])
def test_switched_off_features_are_not_read(switch) -> None:
    tower = make_tower(**{switch: False})
    gone = {
        "use_text": ("text_tokens", "text_lengths"),
        "use_images": ("images", "num_images"),
        "use_vectors": ("vectors", "vector_present"),
    }[switch]
    features = {key: value for key, value in make_features().items() if key not in gone}
    assert np.isfinite(np.asarray(tower(features))).all()


def test_nothing_to_embed() -> None:
    with pytest.raises(ValueError, match=r"must have a feature.*Fill a column of the products"):
        make_tower(EntitySpec("product", (), 0, {}, 3))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_ends_in_float32(policy) -> None:
    output = make_tower(policy=policy)(make_features())
    assert output.dtype == "float32"
    exact = make_tower()(make_features())
    assert (np.asarray(output) * np.asarray(exact)).sum(axis=1).min() > 0.99


def test_begins_where_the_title_encoder_stands() -> None:
    """With a shared encoder the head starts at zero: the embedding is the title's own."""
    settings = QueryTowerConfig(num_layers=1, hidden_dim=16, num_heads=2, intermediate_dim=32)
    encoder = QueryTower(build_backbone(settings, 40), settings, 12)
    encoder.build()
    tower, features = make_tower(title_encoder=encoder), make_features()
    title = {
        "token_ids": np.array([[2, 5, 3], [2, 6, 3], [2, 7, 3], [2, 8, 3]], np.int32),
        "padding_mask": np.ones((4, 3), bool),
    }
    embedded = np.asarray(encoder(title))
    np.testing.assert_allclose(tower({**features, "title": title}), embedded, atol=1e-5)
    given = tower({**features, "title_embedding": embedded})
    np.testing.assert_allclose(given, embedded, atol=1e-5)


def test_attention_is_over_what_a_row_has() -> None:
    tower, features = make_tower(), make_features()
    weights, mask = (np.asarray(one) for one in tower.cls_attention(features))
    names = ["image 1", "image 2", "image 3", "title", "brand", "graph_embedding"]
    assert tower.feature_names(3) == names
    assert weights.shape == (4, 7) and mask.shape == (4, 6)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-6)
    np.testing.assert_array_equal(weights[:, 1:] > 0, mask)
    # Row 1: one of three images, a title, no brand, no vector.
    assert [n for n, there in zip(names, mask[1], strict=True) if there] == ["image 1", "title"]
    with pytest.raises(ValueError, match=r"attention is that of a transformer.*'sum'"):
        make_tower(fusion="sum").cls_attention(features)
