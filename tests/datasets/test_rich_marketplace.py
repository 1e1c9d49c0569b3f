"""The rich marketplace: silent pins, and others who each know something of their own."""

import io
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from beam_pipelines.enrichment_rows import SCHEMAS
from beam_pipelines.enrichments import enrichment_files
from tfrs_sage.datasets.marketplace import write_marketplace
from tfrs_sage.datasets.marketplace.latents import Latents, sample_latents
from tfrs_sage.datasets.marketplace.pins import sample_pins
from tfrs_sage.datasets.marketplace.rich import CAPTION_SCHEMA, CAPTIONS, caption, dim
from tfrs_sage.datasets.marketplace.taxonomy import (
    BRANDS,
    COLORS,
    MATERIALS,
    PATTERNS,
    STYLES,
    TYPES,
)
from tfrs_sage.schema.config import PreprocessConfig
from tfrs_sage.schema.validation import validate_tables

COUNT = 400


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rich") / "tables"
    write_marketplace(folder, num_products=COUNT, num_pins=COUNT, num_users=25, seed=3, rich=True)
    return folder


@pytest.fixture(scope="module")
def pin_latents() -> Latents:
    """The latents that the pins of `shop` were made of."""
    pins, _, _ = sample_pins(sample_latents(COUNT, 90, 0.5, 3), COUNT, 90, 3)
    return pins


def rows(folder: Path, table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(folder / f"{table}.parquet").to_pylist()
    return found


def test_it_is_valid_and_as_large_as_asked(shop: Path) -> None:
    report = validate_tables(str(shop))
    assert report.ok and not report.problems and not report.warnings
    assert report.rows["pins"] == COUNT
    users = {row["query"] for row in rows(shop, "engagements") if row["query_type"] == "user"}
    assert 20 < len(users) <= 25


def test_silent_pins_have_neither_words_nor_colour(shop: Path) -> None:
    silent = colourless = 0
    for pin in rows(shop, "pins"):
        assert pin["caption"] is None
        with Image.open(shop / pin["image_paths"][0]) as image:
            pixels = np.asarray(image.convert("RGB"), int)
        is_grey = (pixels.max(axis=2) - pixels.min(axis=2)).max() < 12
        has_words = bool(pin["title"] or pin["description"])
        assert is_grey or has_words
        silent += not has_words
        colourless += is_grey and has_words  # a grey thing
    assert silent / COUNT == pytest.approx(0.29, abs=0.07)  # three standard deviations
    assert colourless / COUNT < 0.1


def test_captions_are_an_enrichment_and_nine_of_ten_right(shop: Path, pin_latents: Latents) -> None:
    folder = shop / CAPTIONS
    assert SCHEMAS["caption"] == CAPTION_SCHEMA
    config = PreprocessConfig(enrichments=(str(folder),))
    ((field, file),) = enrichment_files(config)
    assert field == "caption"
    found = {row["id"]: row for row in pq.read_table(file).to_pylist()}
    pins = [found[f"pin{row:07d}"] for row in range(COUNT)]
    by_id = {pin["pin_id"]: pin for pin in rows(shop, "pins")}
    assert all(pin["images"] == by_id[pin["id"]]["image_paths"] for pin in pins)
    right = np.mean(
        [
            [
                COLORS[pin_latents.color[row]].name in pin["caption"],
                TYPES[pin_latents.product_type[row]].name in pin["caption"],
            ]
            for row, pin in enumerate(pins)
        ],
        axis=0,
    )
    np.testing.assert_allclose(right, 0.9, atol=0.05)
    told = [row for row in range(COUNT) if pin_latents.pattern[row] > 0]
    named = [PATTERNS[pin_latents.pattern[row]] in pins[row]["caption"] for row in told]
    assert np.mean(named) == pytest.approx(0.9, abs=0.08)
    # Of what no picture shows it says nothing.
    unseen = [*STYLES, *(brand.name.lower() for brand in BRANDS)]
    assert not any(word in pin["caption"].lower() for pin in pins for word in unseen)


def test_captions_follow_their_seed(pin_latents: Latents) -> None:
    one, again, other = (caption(pin_latents, 0, Random(seed)) for seed in (1, 1, 5))
    assert one == again != other


def test_boards_know_style_and_material(shop: Path, pin_latents: Latents) -> None:
    titles = {row["board_id"]: row["title"].lower() for row in rows(shop, "boards")}
    saves = [(int(r["pin_id"][3:]), titles[r["board_id"]]) for r in rows(shop, "board_pins")]
    assert len({pin for pin, _ in saves}) / COUNT > 0.8
    for names, latent in ((STYLES, pin_latents.style), (MATERIALS, pin_latents.material)):
        named = [
            (names[latent[pin]] in title.split(), pin)
            for pin, title in saves
            if set(names) & set(title.split())
        ]
        chance = float(((np.bincount(latent) / COUNT) ** 2).sum())
        assert len(named) > 100
        assert np.mean([is_right for is_right, _ in named]) > 2 * chance


def test_pins_have_been_searched_for(shop: Path) -> None:
    found = [
        row
        for row in rows(shop, "engagements")
        if (row["query_type"], row["candidate_type"]) == ("search", "pin")
    ]
    assert len({row["candidate"] for row in found}) / COUNT > 0.65  # OmniSearchSage: 65%
    assert all(row["timestamp"] is not None for row in found)


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        write_marketplace(tmp_path / name, num_products=50, num_pins=60, seed=5, rich=True)
    files = [
        {p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("*.*")}
        for name in "ab"
    ]
    assert files[0] == files[1] and len(files[0]) > 100


def test_a_dim_picture_keeps_its_size() -> None:
    file = io.BytesIO()
    Image.new("RGB", (96, 64), (250, 20, 20)).save(file, "JPEG")
    with Image.open(io.BytesIO(dim(file.getvalue()))) as image:
        assert image.size == (96, 64) and image.mode == "RGB"
