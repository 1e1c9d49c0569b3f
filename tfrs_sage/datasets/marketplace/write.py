"""Writes the whole synthetic shop as the input tables: Parquet files and pictures."""

import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tfrs_sage.artefacts import whole_folder, write_json
from tfrs_sage.datasets.marketplace.engagements import (
    SCHEMA,
    Shop,
    engagement_batches,
    pin_id,
    product_id,
)
from tfrs_sage.datasets.marketplace.latents import PICTURES, Latents, sample_latents
from tfrs_sage.datasets.marketplace.pictures import Look
from tfrs_sage.datasets.marketplace.pins import boards, judgments, sample_pins
from tfrs_sage.datasets.marketplace.rich import (
    PINS_PER_BOARD,
    caption,
    silent_pins,
    write_captions,
)
from tfrs_sage.datasets.marketplace.shards import Picture, picture_sink, write_pictures
from tfrs_sage.datasets.marketplace.texts import pin_texts, product_texts
from tfrs_sage.datasets.writing import check_target, row_batches, write_table
from tfrs_sage.schema.features import PRODUCT_TEXTS

MARK = "marketplace.json"  # says that a folder is one of ours and may be written again
FILES_UP_TO = 5_000  # products; above it pictures go into tars
PICTURES_PER_SHARD = 20_000
PROCESSES_FROM = 2_000  # products; below it starting processes costs more than they save
_STRINGS = pa.list_(pa.string())
PRODUCT_SCHEMA = pa.schema(
    [("product_id", pa.string())]
    + [(name, pa.string()) for name in PRODUCT_TEXTS]
    + [("image_paths", _STRINGS)]
)
PIN_SCHEMA = pa.schema(
    [(n, pa.string()) for n in ("pin_id", "title", "description", "link_domain", "caption")]
    + [("product_id", pa.string()), ("image_paths", _STRINGS)]
)
BOARD_SCHEMA = pa.schema([("board_id", pa.string()), ("title", pa.string())])
BOARD_PIN_SCHEMA = pa.schema(
    [
        ("board_id", pa.string()),
        ("pin_id", pa.string()),
        ("timestamp", pa.timestamp("us", tz="UTC")),
    ]
)
JUDGMENT_SCHEMA = pa.schema(
    [
        ("query", pa.string()),
        ("product_id", pa.string()),
        ("relevance", pa.float64()),
        ("split", pa.string()),
    ]
)


def write_marketplace(
    folder: str | os.PathLike[str],
    num_products: int = 1000,
    num_users: int | None = None,
    num_pins: int | None = None,
    num_days: int = 90,
    end: datetime = datetime(2026, 1, 1, tzinfo=UTC),
    seed: int = 0,
    hidden_share: float = 0.5,
    events_per_product: float = 12.0,
    events_per_user: float = 25.0,
    num_processes: int | None = None,
    rich: bool = False,
) -> dict[str, int]:
    """Writes a seeded synthetic shop whose pictures and texts each tell what the other does not.

    Tables: products, pins, boards, board_pins, engagements, judgments. The engagements have no
    `split`: they are split by time. The same arguments give the same bytes, whatever the number
    of processes.

    Args:
        folder: path. Made, or replaced when it holds an earlier marketplace.
        num_products: int. Everything else is in proportion to it by default.
        num_users: int. Default: a fifth of the products, at least 20.
        num_pins: int. Default: 0.6 of the products; three times as many where `rich`, so that
            many pins have few engagements or none and must be known by what they hold.
        num_days: int. Length of the log.
        end: datetime with a time zone. When the log ends.
        seed: int >= 0.
        hidden_share: float in 0..1. Share of products with a picture whose colour (and,
            independently, pattern) no text names.
        events_per_product: float. Searches and looks outside the users' histories; 12 give
            about 20 to 30 engagements a product.
        events_per_user: float. Mean number of a user's visits.
        num_processes: int or None. Processes that draw; None: all cores from
            `PROCESSES_FROM` products on, else this one only.
        rich: bool. Pins without words and with dim pictures, more searches for pins, boards that
            say more, and captions as an enrichment in `enrichments/captions`; see `rich`.

    Returns:
        Rows of each table, and `images`.

    Raises:
        InputError: the folder holds something else.
        ValueError: an argument is out of range.
    """
    _check(num_products, num_days, seed, hidden_share, end)
    target = Path(folder)
    check_target(target, MARK, "a marketplace")
    products = sample_latents(num_products, num_days, hidden_share, seed)
    if num_pins is None:
        num_pins = max(10, int(num_products * (3.0 if rich else 0.6)))
    pins, pin_products, scenes = sample_pins(products, num_pins, num_days, seed)
    shop = Shop(
        products=products,
        pins=pins,
        pin_products=pin_products,
        num_users=num_users if num_users is not None else max(20, num_products // 5),
        num_days=num_days,
        seed=seed,
        start=end - timedelta(days=num_days),
        num_events=int(num_products * events_per_product),
        events_per_user=events_per_user,
        silent=silent_pins(num_pins, seed) if rich else None,
    )
    if num_processes is None:
        num_processes = (os.cpu_count() or 1) if num_products >= PROCESSES_FROM else 1
    with whole_folder(target) as place:
        counts = _write_tables(place, shop, scenes)
        if rich:
            write_captions(place, _caption_rows(shop))
        with picture_sink(place, num_products > FILES_UP_TO, PICTURES_PER_SHARD) as sink:
            counts["images"] = write_pictures(_pictures(shop, scenes), sink, num_processes)
        settings: dict[str, Any] = {"num_products": num_products, "num_days": num_days}
        settings |= {"seed": seed, "rich": rich} if rich else {"seed": seed}
        write_json(place / MARK, {**settings, "hidden_share": hidden_share, "counts": counts})
    return counts


def _check(num_products: int, num_days: int, seed: int, hidden_share: float, end: datetime) -> None:
    for name, value, least in (
        ("num_products", num_products, 50),
        ("num_days", num_days, 1),
        ("seed", seed, 0),
    ):
        if value < least:
            raise ValueError(f"`{name}` must be an int of at least {least}. Received: {value}.")
    if not 0 <= hidden_share <= 1:
        raise ValueError(f"`hidden_share` must be within 0..1. Received: {hidden_share}.")
    if end.tzinfo is None:
        raise ValueError(f"`end` must have a time zone, e.g. UTC. Received: {end!r}.")


def _write_tables(place: Path, shop: Shop, scenes: NDArray[np.bool_]) -> dict[str, int]:
    num_boards = max(10, len(shop.pins) // (8 if shop.silent is None else PINS_PER_BOARD))
    # Drawn twice, which gives the same boards twice, so that neither table is held in memory.
    board_rows = (board for board, _ in boards(shop, num_boards))
    board_pin_rows = (pin for _, members in boards(shop, num_boards) for pin in members)
    judged = judgments(shop, max(20, min(2000, len(shop.products) // 10)))
    tables: dict[str, tuple[pa.Schema, Iterable[pa.RecordBatch]]] = {
        "products": (PRODUCT_SCHEMA, row_batches(_product_rows(shop), PRODUCT_SCHEMA)),
        "pins": (PIN_SCHEMA, row_batches(_pin_rows(shop), PIN_SCHEMA)),
        "boards": (BOARD_SCHEMA, row_batches(board_rows, BOARD_SCHEMA)),
        "board_pins": (BOARD_PIN_SCHEMA, row_batches(board_pin_rows, BOARD_PIN_SCHEMA)),
        "engagements": (SCHEMA, engagement_batches(shop)),
        "judgments": (JUDGMENT_SCHEMA, row_batches(judged, JUDGMENT_SCHEMA)),
    }
    return {
        name: write_table(place / f"{name}.parquet", schema, batches)
        for name, (schema, batches) in tables.items()
    }


def _product_rows(shop: Shop) -> Iterator[dict[str, Any]]:
    for row in range(len(shop.products)):
        texts = product_texts(shop.products, row, Random(f"{shop.seed}/product/{row}"))
        yield {"product_id": product_id(row), **texts, "image_paths": _product_paths(shop, row)}


def _pin_rows(shop: Shop) -> Iterator[dict[str, Any]]:
    for row in range(len(shop.pins)):
        random = Random(f"{shop.seed}/pin/{row}")
        # A pin may show a product without a link to it.
        linked = random.random() < 0.85
        silent = None if shop.silent is None else bool(shop.silent[row])
        texts = pin_texts(shop.pins, row, random, silent)
        if silent is not None:
            texts["caption"] = None  # captions are an enrichment
        yield {
            "pin_id": pin_id(row),
            **texts,
            "product_id": product_id(int(shop.pin_products[row])) if linked else None,
            "image_paths": [_pin_path(row)],
        }


def _caption_rows(shop: Shop) -> Iterator[dict[str, Any]]:
    """A caption of the first picture of each product and pin."""
    for entity, latents, name in (
        ("product", shop.products, product_id),
        ("pin", shop.pins, pin_id),
    ):
        for row in range(len(latents)):
            paths = _product_paths(shop, row) if entity == "product" else [_pin_path(row)]
            if paths:
                text = caption(latents, row, Random(f"{shop.seed}/caption/{entity}/{row}"))
                names = {"entity": entity, "id": name(row), "caption": text}
                yield {**names, "images": paths[:1], "captions": [text]}


def _product_paths(shop: Shop, row: int) -> list[str]:
    # A thousand products a folder: file systems slow down on a million files in one.
    return [
        f"images/products/{row // 1000:04d}/{product_id(row)}-{view}.jpg"
        for view in range(shop.products.num_images[row])
    ]


def _pin_path(row: int) -> str:
    return f"images/pins/{row // 1000:04d}/{pin_id(row)}.jpg"


def _pictures(shop: Shop, scenes: NDArray[np.bool_]) -> Iterator[Picture]:
    for row in range(len(shop.products)):
        for view, path in enumerate(_product_paths(shop, row)):
            look = _look(shop.products, row)
            yield Picture(path, (look,), view, (shop.seed, PICTURES, 0, row, view))
    for row in range(len(shop.pins)):
        seed = (shop.seed, PICTURES, 1, row)
        looks = [_look(shop.pins, row)]
        if scenes[row]:
            around = np.random.default_rng((*seed, 1)).integers(0, len(shop.products), 2)
            looks += [_look(shop.products, int(other)) for other in around]
        is_dim = shop.silent is not None and bool(shop.silent[row])
        yield Picture(_pin_path(row), tuple(looks), -1 if scenes[row] else 1, seed, is_dim)


def _look(latents: Latents, row: int) -> Look:
    return Look(int(latents.product_type[row]), int(latents.color[row]), int(latents.pattern[row]))
