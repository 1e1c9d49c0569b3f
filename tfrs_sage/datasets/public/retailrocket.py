"""RetailRocket: visitors of a shop, what they viewed, carted and bought; hashed item texts."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_sage.datasets.public.csv_rows import csv_batches, csv_rows
from tfrs_sage.datasets.public.source import TIMED_ENGAGEMENTS, PublicSet
from tfrs_sage.datasets.writing import row_batches, write_table
from tfrs_sage.errors import InputError

EVENTS = ("view", "addtocart", "transaction")
SESSION_MS = 30 * 60 * 1000  # a longer pause ends a visit
# The two hashed properties that hold sentences; of the others most are numbers.
TEXTS = {"888": "title", "283": "description"}
CATEGORY = "categoryid"
PARTS = ("item_properties_part1.csv", "item_properties_part2.csv")
PRODUCT_SCHEMA = pa.schema(
    [
        (name, pa.string())
        for name in ("product_id", "title", "description", "google_product_category")
    ]
)


def write_retailrocket(folder: Path, place: Path, options: Mapping[str, Any]) -> dict[str, int]:
    """Writes the items; visitors' histories; what followed an item within a visit.

    `user/product` rows have the events' own names as actions. `product/product` rows lead from an
    item to the next other one that the visitor came to within 30 minutes, with what was done with
    it. There is no split: rows are split by time. Words of the texts are numbers in this set.

    Args:
        folder: holds the four files.
        place: folder of the tables.
        options: none.
    """
    events = read_events(folder / "events.csv")
    latest = latest_properties(folder)
    paths = category_paths(folder / "category_tree.csv")
    seen = {str(item) for item in np.unique(events["item"])}
    products = (
        _product(item, latest.get(item, {}), paths) for item in sorted(seen | latest.keys())
    )
    batches = row_batches(products, PRODUCT_SCHEMA)
    counts = {"products": write_table(place / "products.parquet", PRODUCT_SCHEMA, batches)}
    counts["engagements"] = write_table(
        place / "engagements.parquet", TIMED_ENGAGEMENTS, engagement_batches(events)
    )
    return counts


def read_events(path: Path) -> dict[str, np.ndarray]:
    """All events, by visitor and then by time: 25 bytes each (2.8 million in the set).

    Returns:
        `visitor`, `item` and `time` (ms) int64, `event` (index into `EVENTS`) int8.
    """
    parts: dict[str, list[np.ndarray]] = {"time": [], "visitor": [], "item": [], "event": []}
    for batch in csv_batches(path, ("timestamp", "visitorid", "event", "itemid")):
        columns = ("time", "timestamp"), ("visitor", "visitorid"), ("item", "itemid")
        for name, column in columns:
            parts[name].append(batch.column(column).cast(pa.int64()).to_numpy())
        known = pc.index_in(batch.column("event"), pa.array(EVENTS))
        if known.null_count:
            other = batch.column("event").filter(pc.is_null(known))[0]
            raise InputError(f"{path}: an event is one of {', '.join(EVENTS)}. Found: {other}.")
        parts["event"].append(known.cast(pa.int8()).to_numpy(zero_copy_only=False))
    events = {name: np.concatenate(values) for name, values in parts.items()}
    order = np.lexsort((events["time"], events["visitor"]))
    return {name: values[order] for name, values in events.items()}


def engagement_batches(events: Mapping[str, np.ndarray]) -> Iterator[pa.RecordBatch]:
    """Histories, then successions within a visit."""
    visitor, item, time = events["visitor"], events["item"], events["time"]
    yield _engagements("user", visitor, item, events["event"], visitor, time)
    follows = (
        (visitor[1:] == visitor[:-1])
        & (item[1:] != item[:-1])
        & (time[1:] - time[:-1] <= SESSION_MS)
    )
    after = np.flatnonzero(follows) + 1
    yield _engagements(
        "product",
        item[after - 1],
        item[after],
        events["event"][after],
        visitor[after],
        time[after],
    )


def _engagements(
    query_type: str,
    query: np.ndarray,
    item: np.ndarray,
    event: np.ndarray,
    visitor: np.ndarray,
    time: np.ndarray,
) -> pa.RecordBatch:
    count = len(item)
    columns = {
        "query_type": pa.array([query_type] * count, pa.string()),
        "query": pa.array(query).cast(pa.string()),
        "candidate_type": pa.array(["product"] * count, pa.string()),
        "candidate": pa.array(item).cast(pa.string()),
        "action": pa.array(EVENTS).take(pa.array(event)),
        "user_id": pa.array(visitor).cast(pa.string()),
        "timestamp": pa.array(time).cast(pa.timestamp("ms")).cast(pa.timestamp("ms", tz="UTC")),
    }
    return pa.RecordBatch.from_pydict(columns, TIMED_ENGAGEMENTS)


def latest_properties(folder: Path) -> dict[str, dict[str, str]]:
    """The newest value of the properties that are used, by item."""
    wanted = pa.array([CATEGORY, *TEXTS])
    times: dict[tuple[str, str], int] = {}
    latest: dict[str, dict[str, str]] = {}
    for name in PARTS:
        for batch in csv_batches(folder / name, ("timestamp", "itemid", "property", "value")):
            kept = batch.filter(pc.is_in(batch.column("property"), wanted))
            for row in kept.to_pylist():
                key, time = (row["itemid"], row["property"]), int(row["timestamp"])
                if time >= times.get(key, time):
                    times[key] = time
                    latest.setdefault(row["itemid"], {})[row["property"]] = row["value"]
    return latest


def category_paths(path: Path) -> dict[str, str]:
    """The way from the root to each category: `140 > 1009`."""
    parents = {r["categoryid"]: r["parentid"] for r in csv_rows(path, ("categoryid", "parentid"))}
    paths = {}
    for category in parents:
        way: list[str] = []
        place = category
        while place and place not in way:  # a tree has no ring; a damaged file may
            way.append(place)
            place = parents.get(place, "")
        paths[category] = " > ".join(reversed(way))
    return paths


def _product(item: str, values: Mapping[str, str], paths: Mapping[str, str]) -> dict[str, Any]:
    category = values.get(CATEGORY)
    return {
        "product_id": item,
        **{column: values.get(name) for name, column in TEXTS.items()},
        "google_product_category": paths.get(category, category) if category else None,
    }


RETAILROCKET = PublicSet(
    name="retailrocket",
    title="Retailrocket recommender system dataset",
    homepage="https://www.kaggle.com/datasets/retailrocket/ecommerce-dataset",
    licence="CC BY-NC-SA 4.0",
    citation=(
        "Zykov, Artem and Alexander, Retailrocket recommender system dataset, Kaggle (2022), "
        "doi 10.34740/KAGGLE/DSV/4471234"
    ),
    files={
        "events.csv": "what visitors did",
        **{name: "properties of the items over time" for name in PARTS},
        "category_tree.csv": "the categories",
    },
    write=write_retailrocket,
    login="Kaggle asks for a login, so there is no --download",
)
