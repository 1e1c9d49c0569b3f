"""Pins that show products, boards that collect pins, and graded judgments of searches."""

from collections.abc import Iterator
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfrs_sage.datasets.marketplace.behaviour import Shelf, match_share
from tfrs_sage.datasets.marketplace.engagements import Shop, pin_id, product_id
from tfrs_sage.datasets.marketplace.intents import search_intents, texts_of
from tfrs_sage.datasets.marketplace.latents import (
    BOARDS,
    JUDGES,
    LATE_SHARE,
    PINS,
    Ints,
    Latents,
    generator,
    zipf,
)
from tfrs_sage.datasets.marketplace.rich import rich_board_title
from tfrs_sage.datasets.marketplace.taxonomy import DEPARTMENTS, TYPES
from tfrs_sage.datasets.marketplace.texts import board_title

SCENE_SHARE = 0.3  # of pins that show a room or an outfit around the product
PINS_PER_BOARD = 15
JUDGED_PER_QUERY = 16


def sample_pins(
    products: Latents, num_pins: int, num_days: int, seed: int
) -> tuple[Latents, NDArray[np.intp], NDArray[np.bool_]]:
    """Draws what each pin shows.

    Returns:
        The pins' latents, the row of the product shown `[num_pins]`, whether it is a scene.
    """
    random = generator(seed, PINS)
    shares = (products.num_images > 0) * np.sqrt(products.popularity)
    rows = random.choice(len(products), num_pins, p=shares / shares.sum())
    late = np.where(
        random.random(num_pins) < LATE_SHARE, random.uniform(0, num_days, num_pins), 0.0
    )
    columns = products.take(rows)
    pins = Latents(
        **{
            **columns.__dict__,
            "popularity": zipf(num_pins, random),
            "launch_day": np.maximum(columns.launch_day, late),
        }
    )
    return pins, rows, random.random(num_pins) < SCENE_SHARE


def boards(shop: Shop, num_boards: int) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Each board with its pins: a department, mostly in one colour or one style."""
    shelf = Shelf(shop.pins)
    departments = np.array([DEPARTMENTS.index(each.department) for each in TYPES])
    is_rich = shop.silent is not None
    draws = generator(shop.seed, BOARDS)
    # All at once: one draw by popularity costs a pass over all pins.
    anchors = draws.choice(len(shop.pins), num_boards, p=shop.pins.popularity).tolist()
    for number, anchor in enumerate(anchors):
        random = generator(shop.seed, BOARDS, 1 + number)
        department = departments[shop.pins.product_type[anchor]]
        color = int(shop.pins.color[anchor]) if random.random() < 0.5 else -1
        style = int(shop.pins.style[anchor]) if random.random() < 0.5 else -1
        types = np.nonzero(departments == department)[0].astype(np.int32)
        asked = np.array([[color, -1, -1, -1, style]], np.int32)
        if is_rich:
            kind = int(shop.pins.product_type[anchor]) if random.random() < 0.5 else -1
            types = types if kind < 0 else np.array([kind], np.int32)
            asked[0, 2] = shop.pins.material[anchor] if random.random() < 0.5 else -1
        drawn = shelf.draw(types, np.full(len(types), color, np.int32), 12, random)
        rows = np.unique(drawn[drawn >= 0])
        match = match_share(shop.pins.attributes(rows)[None], asked)[0]
        best = rows[np.argsort(-(match + 0.3 * random.random(len(rows))), kind="stable")]
        size = int(random.integers(4, 2 * PINS_PER_BOARD - 4))
        name = f"b{number:06d}"
        times = random.uniform(0, shop.num_days, size)
        words = Random(f"{shop.seed}/{name}")
        if is_rich:
            title = rich_board_title(DEPARTMENTS[department], kind, asked[0], words)
        else:
            title = board_title(DEPARTMENTS[department], color, style, words)
        yield (
            {"board_id": name, "title": title},
            [
                {
                    "board_id": name,
                    "pin_id": pin_id(row),
                    "timestamp": shop.start + _days(max(day, shop.pins.launch_day[row])),
                }
                for row, day in zip(best[:size], times, strict=False)
            ],
        )


def judgments(shop: Shop, num_queries: int) -> list[dict[str, Any]]:
    """Graded relevance, 0 (another thing) to 3 (all that was asked for), of unseen searches.

    All are of split `test`: they are for measuring, not for training.
    """
    random = generator(shop.seed, JUDGES)
    intents = search_intents(shop.products, np.zeros(num_queries), random)
    texts = texts_of(intents, f"{shop.seed}/judged")
    shelf = Shelf(shop.products)
    half = JUDGED_PER_QUERY // 2
    colored = shelf.draw(intents.product_type, intents.asked[:, 0], half, random)
    anything = np.full(num_queries, -1, np.int32)
    other = random.integers(0, len(shop.products), (num_queries, 3))
    wide = shelf.draw(intents.product_type, anything, half, random)
    rows = np.concatenate([colored, wide, other], axis=1)
    grades = _grades(shop.products, rows, intents.product_type, intents.asked)
    table = {}
    for query, text in enumerate(texts):
        for row, grade in zip(rows[query], grades[query], strict=True):
            if row >= 0:
                table[text, int(row)] = float(grade)
    return [
        {"query": text, "product_id": product_id(row), "relevance": grade, "split": "test"}
        for (text, row), grade in table.items()
    ]


def _grades(products: Latents, rows: NDArray[np.intp], product_type: Ints, asked: Ints) -> Ints:
    match = match_share(products.attributes(rows), asked)
    nothing_asked = np.all(asked < 0, axis=1, keepdims=True)
    grade = np.where(nothing_asked | (match > 0.99), 3, np.where(match >= 0.4, 2, 1))
    same = products.product_type[rows] == product_type[:, None]
    return np.where(same, grade, 0).astype(np.int32)


def _days(days: float) -> Any:
    return np.timedelta64(round(days * 86_400_000_000), "us").astype(object)
