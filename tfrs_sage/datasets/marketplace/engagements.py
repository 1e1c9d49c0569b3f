"""The engagement log, chunk by chunk: searches, pins, products and users' histories."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tfrs_sage.datasets.marketplace.behaviour import ACTIONS, Actions, Intents, Shelf, engage
from tfrs_sage.datasets.marketplace.intents import (
    HeadQueries,
    head_queries,
    look_intents,
    moments,
    product_intents,
    searches,
    texts_of,
    user_intents,
)
from tfrs_sage.datasets.marketplace.latents import EVENTS, USERS, Floats, Latents, generator

EVENT_CHUNK = 4096
USER_CHUNK = 512
ANONYMOUS_SHARE = 0.2  # of the events that are not a user's history
REPHRASED_SHARE = 0.12  # of searches followed by another wording of the same wish
# Of the events: searches for products, looks at pins, looks at products, searches for pins.
SHARES = (0.50, 0.20, 0.15, 0.15)
RICH_SHARES = (0.35, 0.10, 0.10, 0.45)
SCHEMA = pa.schema(
    [
        ("query_type", pa.string()),
        ("query", pa.string()),
        ("candidate_type", pa.string()),
        ("candidate", pa.string()),
        ("action", pa.string()),
        ("user_id", pa.string()),
        ("timestamp", pa.timestamp("us", tz="UTC")),
    ]
)


@dataclass(frozen=True)
class Shop:
    """All that the log is drawn from.

    Attributes:
        products, pins: Latents; a pin's are those of the product it shows.
        pin_products: int `[num_pins]`, row of the product shown.
        num_users, num_days, seed: int.
        start: datetime, UTC. Day 0.
        num_events: int. Looks and searches outside the users' histories.
        events_per_user: float. Mean of the users' histories.
        silent: bool `[num_pins]`, pins without words of their own, of the rich marketplace; None
            for the plain one.
    """

    products: Latents
    pins: Latents
    pin_products: NDArray[np.intp]
    num_users: int
    num_days: int
    seed: int
    start: datetime
    num_events: int
    events_per_user: float
    silent: NDArray[np.bool_] | None = None


def product_id(row: int) -> str:
    return f"p{row:07d}"


def pin_id(row: int) -> str:
    return f"pin{row:07d}"


def user_id(row: int) -> str:
    return f"u{row:07d}"


def engagement_batches(shop: Shop) -> Iterator[pa.RecordBatch]:
    """The whole log in bounded pieces, the same whatever reads it."""
    product_shelf, pin_shelf = Shelf(shop.products), Shelf(shop.pins)
    # Half of the looks are searches for products; the rest is shared as below.
    head = head_queries(shop.products, shop.num_events // 2, shop.seed)
    kinds = (
        ("search", product_shelf),
        ("pin", product_shelf),
        ("product", product_shelf),
        ("search_pin", pin_shelf),
    )
    shares = SHARES if shop.silent is None else RICH_SHARES
    for number, ((kind, shelf), share) in enumerate(zip(kinds, shares, strict=True)):
        total = int(shop.num_events * share)
        for start in range(0, total, EVENT_CHUNK):
            chunk = start // EVENT_CHUNK * len(kinds) + number
            random = generator(shop.seed, EVENTS, chunk)
            day = moments(min(EVENT_CHUNK, total - start), shop.num_days, random)
            if kind.startswith("search"):
                yield from _search_batches(shop, kind, shelf, head, day, random, chunk)
            else:
                yield _look_batch(shop, kind, shelf, day, random)
    for start in range(0, shop.num_users, USER_CHUNK):
        random = generator(shop.seed, USERS, start // USER_CHUNK)
        count = min(USER_CHUNK, shop.num_users - start)
        yield _user_batch(shop, product_shelf, start, count, random)


def _search_batches(
    shop: Shop,
    kind: str,
    shelf: Shelf,
    head: HeadQueries,
    day: Floats,
    random: np.random.Generator,
    chunk: int,
) -> Iterator[pa.RecordBatch]:
    salt = f"{shop.seed}/search/{chunk}"
    intents, texts = searches(shop.products, head, day, random, salt)
    users = _users(shop, len(intents), random)
    if kind == "search_pin":
        actions = engage(shelf, intents, random, last_action="save")
        yield _batch(shop, "search", texts, "pin", actions, pin_id, users)
        return
    yield _batch(
        shop, "search", texts, "product", engage(shelf, intents, random), product_id, users
    )
    rephrased = np.nonzero(random.random(len(intents)) < REPHRASED_SHARE)[0]
    yield _rephrasings(shop, intents, texts, users, rephrased, f"{salt}/again")


def _rephrasings(
    shop: Shop,
    intents: Intents,
    texts: list[str],
    users: list[str | None],
    rows: NDArray[np.intp],
    salt: str,
) -> pa.RecordBatch:
    """Searches that led to a click on another wording of them: query to query."""
    again = Intents(intents.product_type[rows], intents.asked[rows], intents.day[rows])
    wordings = texts_of(again, salt)
    kept = [i for i, row in enumerate(rows) if wordings[i] != texts[row]]
    return _record_batch(
        shop,
        "search",
        [texts[rows[i]] for i in kept],
        "query",
        [wordings[i] for i in kept],
        ["click"] * len(kept),
        [users[rows[i]] for i in kept],
        again.day[kept],
    )


def _look_batch(
    shop: Shop, kind: str, shelf: Shelf, day: Floats, random: np.random.Generator
) -> pa.RecordBatch:
    latents = shop.pins if kind == "pin" else shop.products
    rows = random.choice(len(latents), len(day), p=latents.popularity)
    # Nobody looks at what is not there yet: such a look moves to the day it came.
    day = np.maximum(day, latents.launch_day[rows])
    if kind == "pin":
        intents, own = look_intents(latents, rows, day, random), shop.pin_products[rows]
        queries = [pin_id(row) for row in rows]
    else:
        intents, own = product_intents(latents, rows, day, random), rows
        queries = [product_id(row) for row in rows]
    actions = engage(shelf, intents, random, own=own, own_wanted=kind == "pin")
    users = _users(shop, len(rows), random)
    return _batch(shop, kind, queries, "product", actions, product_id, users)


def _user_batch(
    shop: Shop, shelf: Shelf, start: int, count: int, random: np.random.Generator
) -> pa.RecordBatch:
    user, intents = user_intents(shop.products, count, shop.events_per_user, shop.num_days, random)
    names = [user_id(start + number) for number in user]
    actions = engage(shelf, intents, random)
    return _batch(shop, "user", names, "product", actions, product_id, names)


def _users(shop: Shop, count: int, random: np.random.Generator) -> list[str | None]:
    rows = random.integers(0, shop.num_users, count)
    known = random.random(count) >= ANONYMOUS_SHARE
    return [user_id(row) if is_known else None for row, is_known in zip(rows, known, strict=True)]


def _batch(
    shop: Shop,
    query_type: str,
    queries: Sequence[str],
    candidate_type: str,
    actions: Actions,
    name: Callable[[int], str],
    users: Sequence[str | None],
) -> pa.RecordBatch:
    return _record_batch(
        shop,
        query_type,
        [queries[event] for event in actions.event],
        candidate_type,
        [name(row) for row in actions.candidate],
        [ACTIONS[action] for action in actions.action],
        [users[event] for event in actions.event],
        actions.day,
    )


def _record_batch(
    shop: Shop,
    query_type: str,
    queries: list[str],
    candidate_type: str,
    candidates: list[str],
    actions: list[str],
    users: list[str | None],
    day: Floats,
) -> pa.RecordBatch:
    micros = np.round(np.asarray(day) * 86_400_000_000).astype("timedelta64[us]")
    times = np.datetime64(shop.start.replace(tzinfo=None), "us") + micros
    order = np.argsort(times, kind="stable")
    batch = pa.RecordBatch.from_arrays(
        [
            pa.array([query_type] * len(queries), pa.string()),
            pa.array(queries, pa.string()),
            pa.array([candidate_type] * len(queries), pa.string()),
            pa.array(candidates, pa.string()),
            pa.array(actions, pa.string()),
            pa.array(users, pa.string()),
            pa.array(times).cast(SCHEMA.field("timestamp").type),
        ],
        schema=SCHEMA,
    )
    return batch.take(pa.array(order))
