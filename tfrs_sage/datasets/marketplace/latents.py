"""The hidden truth of the shop: each product's attributes, and which of them a text tells."""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from tfrs_sage.datasets.marketplace.taxonomy import (
    BRANDS,
    COLOR_SHARES,
    DEPARTMENTS,
    MATERIALS,
    PATTERN_SHARES,
    STYLES,
    TYPES,
)

Ints = NDArray[np.int32]
Floats = NDArray[np.float64]
CHUNK = 4096  # rows drawn from one generator: fixed, so that results know nothing of processes
# The attributes that an intent may ask for, in the order of `Latents.attributes`.
ATTRIBUTES = ("color", "pattern", "material", "brand", "style")
LATE_SHARE = 0.15  # products launched within the days of the log: the cold start of the shop
NO_IMAGE_SHARE = 0.03
IMAGE_COUNT_SHARES = (0.50, 0.27, 0.14, 0.09)  # of 1, 2, 3 and 4 images
# Streams of random numbers, one a purpose: more products do not shift the users' numbers.
PRODUCTS, POPULARITY, PINS, TEXTS, PICTURES, EVENTS, QUERIES, USERS, BOARDS, JUDGES = range(10)


def generator(seed: int, stream: int, number: int = 0) -> np.random.Generator:
    """The random numbers of one chunk of one purpose."""
    return np.random.default_rng([seed, stream, number])


@dataclass(frozen=True)
class Latents:
    """Columns over products (or over pins, taken from the product shown).

    Attributes:
        product_type, color, pattern, material, brand, style, size: int32 `[n]`, indices into
            the taxonomy (`size` into the sizes of the type).
        popularity: float64 `[n]`, sums to 1; Zipf-like.
        launch_day: float64 `[n]`, days since the log starts; 0 for what was there before.
        num_images: int32 `[n]`, 0..4.
        color_told, pattern_told: bool `[n]`, whether a text of the product names it.
    """

    product_type: Ints
    color: Ints
    pattern: Ints
    material: Ints
    brand: Ints
    style: Ints
    size: Ints
    popularity: Floats
    launch_day: Floats
    num_images: Ints
    color_told: NDArray[np.bool_]
    pattern_told: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.product_type)

    def take(self, rows: NDArray[np.intp]) -> "Latents":
        """The latents of some rows, in that order."""
        return Latents(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def attributes(self, rows: NDArray[np.intp]) -> Ints:
        """The `ATTRIBUTES` of some rows: int32 `[*rows.shape, 5]`."""
        return np.stack([getattr(self, name)[rows] for name in ATTRIBUTES], axis=-1)


def sample_latents(num_products: int, num_days: int, hidden_share: float, seed: int) -> Latents:
    """Draws every product's attributes.

    Args:
        num_products: int.
        num_days: int. Length of the log.
        hidden_share: float. Share of the products that have a picture whose colour no text
            names; likewise, independently, for their pattern.
        seed: int.
    """
    chunks = [
        _sample_chunk(
            min(CHUNK, num_products - start),
            num_days,
            hidden_share,
            generator(seed, PRODUCTS, start // CHUNK),
        )
        for start in range(0, num_products, CHUNK)
    ]
    columns = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
    return Latents(**columns, popularity=zipf(num_products, generator(seed, POPULARITY)))


def zipf(count: int, random: np.random.Generator, exponent: float = 0.8) -> Floats:
    """Shares that fall with a random rank, as views and sales do: float64 `[count]`, sum 1."""
    weights = (random.permutation(count) + 5.0) ** -exponent
    shares: Floats = np.asarray(weights / weights.sum(), np.float64)
    return shares


def _sample_chunk(
    count: int, num_days: int, hidden_share: float, random: np.random.Generator
) -> dict[str, NDArray[np.generic]]:
    # Types of a department fall in share with their place in it.
    department = np.array([DEPARTMENTS.index(each.department) for each in TYPES])
    place = np.array([(department[:i] == d).sum() for i, d in enumerate(department)])
    product_type = _pick(1 / (place + 2.0), count, random)
    patterned = np.array([each.patterned for each in TYPES])[product_type]
    pattern = np.where(patterned, _pick(PATTERN_SHARES, count, random), 0)
    materials = _padded([[MATERIALS.index(m) for m in each.materials] for each in TYPES])
    brands = _padded([[i for i, b in enumerate(BRANDS) if d in b.departments] for d in DEPARTMENTS])
    brand = _one_of(brands, department[product_type], random)
    brand_style = np.array([STYLES.index(each.style) for each in BRANDS])[brand]
    off_style = random.random(count) < 0.3
    num_images = _pick(IMAGE_COUNT_SHARES, count, random) + 1
    num_images[random.random(count) < NO_IMAGE_SHARE] = 0
    sizes = np.array([len(each.sizes) for each in TYPES])[product_type]
    late = random.random(count) < LATE_SHARE
    return {
        "product_type": product_type,
        "color": _pick(COLOR_SHARES, count, random),
        "pattern": pattern.astype(np.int32),
        "material": _one_of(materials, product_type, random),
        "brand": brand,
        "style": np.where(off_style, random.integers(0, len(STYLES), count), brand_style).astype(
            np.int32
        ),
        "size": (random.random(count) * sizes).astype(np.int32),
        "launch_day": np.where(late, random.uniform(0, num_days, count), 0.0),
        "num_images": num_images,
        # What no picture shows must be told, or nobody could ever know it.
        "color_told": (random.random(count) >= hidden_share) | (num_images == 0),
        "pattern_told": (random.random(count) >= hidden_share) | (num_images == 0),
    }


def _pick(shares: object, count: int, random: np.random.Generator) -> Ints:
    weights = np.asarray(shares, np.float64)
    return random.choice(len(weights), count, p=weights / weights.sum()).astype(np.int32)


def _padded(lists: list[list[int]]) -> Ints:
    """Ragged lists as int32 `[n, 1 + longest]`: the length, then the values, then -1."""
    table = np.full((len(lists), 1 + max(map(len, lists))), -1, np.int32)
    for row, values in enumerate(lists):
        table[row, 0] = len(values)
        table[row, 1 : 1 + len(values)] = values
    return table


def _one_of(table: Ints, rows: NDArray[np.integer], random: np.random.Generator) -> Ints:
    """One value of each row's list, the first ones more often."""
    place = (random.random(len(rows)) ** 1.5 * table[rows, 0]).astype(np.int32)
    chosen: Ints = table[rows, 1 + place]
    return chosen
