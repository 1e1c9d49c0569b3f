"""What is planted can be found: pictures tell colour, type and pattern; shoppers follow intents."""

import re
from random import Random

import numpy as np
import pytest
from numpy.typing import NDArray

from tfrs_sage.datasets.marketplace.behaviour import (
    ATTRIBUTE_WEIGHTS,
    Intents,
    Shelf,
    engage,
    match_share,
)
from tfrs_sage.datasets.marketplace.latents import Latents, generator, sample_latents
from tfrs_sage.datasets.marketplace.pictures import Look
from tfrs_sage.datasets.marketplace.shards import Picture, draw
from tfrs_sage.datasets.marketplace.silhouettes import SILHOUETTES
from tfrs_sage.datasets.marketplace.taxonomy import (
    BRANDS,
    COLORS,
    DEPARTMENTS,
    PATTERN_SYNONYMS,
    PATTERNS,
    TYPES,
)
from tfrs_sage.datasets.marketplace.texts import product_texts, query_text
from tfrs_sage.vision import image_encoder

COUNT = 600


@pytest.fixture(scope="module")
def latents() -> Latents:
    return sample_latents(COUNT, num_days=90, hidden_share=0.5, seed=1)


@pytest.fixture(scope="module")
def vectors(latents: Latents) -> NDArray[np.float32]:
    looks = zip(latents.product_type, latents.color, latents.pattern, strict=True)
    pictures = [
        draw(Picture("x", (Look(*map(int, look)),), 0, (1, row))) for row, look in enumerate(looks)
    ]
    return image_encoder("classical").encode(pictures)


def neighbour_agreement(vectors: NDArray[np.float32], labels: NDArray[np.int32]) -> float:
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    return float((labels[scores.argmax(axis=1)] == labels).mean())


@pytest.mark.parametrize(("attribute", "floor"), [("color", 0.6), ("product_type", 0.6)])
def test_pictures_tell_colour_and_type(
    latents: Latents, vectors: NDArray[np.float32], attribute: str, floor: float
) -> None:
    labels = getattr(latents, attribute)
    shares = np.bincount(labels) / len(labels)
    chance = float((shares**2).sum())
    assert chance < 0.1
    assert neighbour_agreement(vectors, labels) > floor


def test_pictures_tell_the_pattern(latents: Latents, vectors: NDArray[np.float32]) -> None:
    patterned = np.array([each.patterned for each in TYPES])[latents.product_type]
    labels = latents.pattern[patterned]
    chance = float(((np.bincount(labels) / len(labels)) ** 2).sum())
    assert neighbour_agreement(vectors[patterned], labels) > chance + 0.2


def words_for(name: str, synonyms: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(r"\b(" + "|".join((name, *synonyms)) + r")\b", re.IGNORECASE)


def test_hidden_colours_and_patterns_are_in_no_text(latents: Latents) -> None:
    colors = [words_for(color.name, color.synonyms) for color in COLORS]
    patterns = [words_for(name, PATTERN_SYNONYMS[name]) for name in PATTERNS]
    for row in range(COUNT):
        texts = product_texts(latents, row, Random(row))
        text = " ".join(value for value in texts.values() if value)
        if latents.color_told[row]:
            assert colors[latents.color[row]].search(text)
        else:
            assert not any(color.search(text) for color in colors)
        if latents.pattern_told[row]:
            assert patterns[latents.pattern[row]].search(text)
        else:
            assert not any(pattern.search(text) for pattern in patterns)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_hidden_share_is_as_asked(share: float) -> None:
    latents = sample_latents(5000, num_days=90, hidden_share=share, seed=0)
    pictured = latents.num_images > 0
    assert (~latents.color_told[pictured]).mean() == pytest.approx(share, abs=0.03)
    assert (~latents.pattern_told[pictured]).mean() == pytest.approx(share, abs=0.03)
    assert latents.color_told[~pictured].all()


def test_missing_fields_and_latents_are_as_a_shop_has_them(latents: Latents) -> None:
    texts = [product_texts(latents, row, Random(row)) for row in range(COUNT)]
    missing = {name: sum(t[name] is None for t in texts) / COUNT for name in texts[0]}
    assert missing["title"] < 0.03
    assert 0.15 < missing["description"] < 0.35
    assert 0.05 < missing["material"] < 0.2
    for row in range(COUNT):
        kind = TYPES[latents.product_type[row]]
        assert kind.department in BRANDS[latents.brand[row]].departments
        assert kind.patterned or latents.pattern[row] == 0


def test_more_products_change_nothing_of_the_first_ones() -> None:
    small = sample_latents(4096, num_days=90, hidden_share=0.5, seed=2)
    large = sample_latents(5000, num_days=90, hidden_share=0.5, seed=2)
    np.testing.assert_array_equal(small.color, large.color[:4096])


def test_taxonomy_and_silhouettes_fit() -> None:
    assert set(SILHOUETTES) == {each.name for each in TYPES}
    assert len(TYPES) >= 40
    assert len(DEPARTMENTS) >= 8
    assert all(0 <= n <= 1.01 for parts in SILHOUETTES.values() for _, _, ns in parts for n in ns)


def test_match_share_by_hand() -> None:
    # Asked: colour 3 and material 1. The first has both, the second the colour, the third none.
    attributes = np.array([[[3, 0, 1, 0, 0], [3, 0, 2, 0, 0], [4, 0, 2, 0, 0]]], np.int32)
    asked = np.array([[3, -1, 1, -1, -1]], np.int32)
    color, _, material, _, _ = ATTRIBUTE_WEIGHTS
    np.testing.assert_allclose(
        match_share(attributes, asked), [[1.0, color / (color + material), 0.0]]
    )


def test_clicks_follow_every_attribute_asked_for(latents: Latents) -> None:
    shelf = Shelf(latents)
    sofas = np.zeros(4000, np.int32)
    rows = np.nonzero(latents.product_type == 0)[0]
    for place in range(5):
        asked = np.full((4000, 5), -1, np.int32)
        value = int(latents.attributes(rows)[0, place])
        asked[:, place] = value
        intents = Intents(sofas, asked, np.full(4000, 100.0))
        clicked = engage(shelf, intents, generator(0, 5)).candidate
        assert (latents.product_type[clicked] == 0).all()
        share = (latents.attributes(clicked)[:, place] == value).mean()
        base = (latents.attributes(rows)[:, place] == value).mean()
        assert share > 0.9 > base


def test_nothing_is_engaged_with_before_its_launch(latents: Latents) -> None:
    intents = Intents(
        latents.product_type[:500], np.full((500, 5), -1, np.int32), np.linspace(0, 90, 500)
    )
    actions = engage(Shelf(latents), intents, generator(0, 5))
    assert len(actions.event) > 100
    assert (latents.launch_day[actions.candidate] <= intents.day[actions.event]).all()
    assert (latents.launch_day > 0).mean() == pytest.approx(0.15, abs=0.05)


def test_own_product_is_wanted_of_a_pin_and_hidden_of_a_product(latents: Latents) -> None:
    own = np.nonzero(latents.launch_day == 0)[0][:400]
    intents = Intents(latents.product_type[own], latents.attributes(own), np.full(len(own), 50.0))
    for wanted in (True, False):
        actions = engage(Shelf(latents), intents, generator(0, 5), own=own, own_wanted=wanted)
        hits = set(actions.event[actions.candidate == own[actions.event]])
        assert len(hits) > 200 if wanted else not hits


def test_popular_products_get_more(latents: Latents) -> None:
    intents = Intents(
        np.repeat(latents.product_type, 10), np.full((COUNT * 10, 5), -1, np.int32),
        np.full(COUNT * 10, 100.0),
    )  # fmt: skip
    clicks = np.bincount(
        engage(Shelf(latents), intents, generator(0, 5)).candidate, minlength=COUNT
    )
    top = np.argsort(-latents.popularity)[: COUNT // 10]
    assert clicks[top].sum() / clicks.sum() > 0.13


def test_queries_name_what_is_asked_for() -> None:
    random = Random(0)
    texts = [query_text(0, (0, 1, -1, 0, -1), random) for _ in range(200)]
    color, pattern = words_for("red", COLORS[0].synonyms), words_for("striped", ("stripe",))
    assert sum(bool(color.search(t) and pattern.search(t)) for t in texts) > 180
    assert {"couch", "settee", "sofa"} <= {word for t in texts for word in t.split()}
    assert sum(BRANDS[0].name.lower() in text for text in texts) > 190
