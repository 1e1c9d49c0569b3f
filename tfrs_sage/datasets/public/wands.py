"""WANDS: Wayfair's searches for furniture, each with a few hundred graded products."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from tfrs_sage.datasets.public.csv_rows import csv_rows
from tfrs_sage.datasets.public.source import (
    ENGAGEMENTS,
    JUDGMENTS,
    PublicSet,
    hashed_split,
    plain_text,
    search_row,
)
from tfrs_sage.datasets.writing import row_batches, write_table

ACTIONS = {"Exact": "exact", "Partial": "partial"}
RELEVANCE = {"Exact": 2.0, "Partial": 1.0, "Irrelevant": 0.0}
ATTRIBUTES = ("color", "material", "pattern")  # of the features that are columns of their own
PRODUCT_SCHEMA = pa.schema(
    [
        (name, pa.string())
        for name in (
            *("product_id", "title", "description", "google_product_category", "product_type"),
            *ATTRIBUTES,
        )
    ]
)


def write_wands(folder: Path, place: Path, options: Mapping[str, Any]) -> dict[str, int]:
    """Writes products, `exact` and `partial` engagements, and all judgments (2, 1, 0).

    The set has no splits: a tenth of the queries each, by a hash of the text, is validation and
    test.

    Args:
        folder: holds `product.csv`, `query.csv` and `label.csv`, separated by tabs.
        place: folder of the tables.
        options: none.
    """
    queries = {
        row["query_id"]: " ".join(row["query"].split())
        for row in csv_rows(folder / "query.csv", ("query_id", "query"), "\t")
    }
    known: set[str] = set()

    def labels() -> Iterator[tuple[str, str, str]]:
        for row in csv_rows(folder / "label.csv", ("query_id", "product_id", "label"), "\t"):
            if row["query_id"] in queries and row["product_id"] in known:
                yield queries[row["query_id"]], row["product_id"], row["label"]

    def products() -> Iterator[dict[str, Any]]:
        for row in product_rows(folder):
            known.add(row["product_id"])
            yield row

    batches = row_batches(products(), PRODUCT_SCHEMA)
    counts = {"products": write_table(place / "products.parquet", PRODUCT_SCHEMA, batches)}
    engaged = (
        search_row(query, product, ACTIONS[label], hashed_split(query))
        for query, product, label in labels()
        if label in ACTIONS
    )
    judged = (
        {
            "query": query,
            "product_id": product,
            "relevance": RELEVANCE[label],
            "split": hashed_split(query),
        }
        for query, product, label in labels()
    )
    for name, schema, rows in (
        ("engagements", ENGAGEMENTS, engaged),
        ("judgments", JUDGMENTS, judged),
    ):
        counts[name] = write_table(place / f"{name}.parquet", schema, row_batches(rows, schema))
    return counts


def product_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """Products; their features follow the description, colour and material as columns too."""
    columns = ("product_id", "product_name", "product_class", "category hierarchy")
    for row in csv_rows(
        folder / "product.csv", (*columns, "product_description", "product_features"), "\t"
    ):
        pairs = [part.partition(":") for part in row["product_features"].split("|")]
        features = {key.strip(): value.strip() for key, _, value in pairs if value.strip()}
        said = (f"{key} {value}" for key, value in features.items())
        yield {
            "product_id": row["product_id"],
            "title": plain_text(row["product_name"]),
            "description": plain_text(". ".join([row["product_description"], *said])),
            "google_product_category": plain_text(row["category hierarchy"].replace("/", ">")),
            "product_type": plain_text(row["product_class"].replace("|", " ")),
            **{name: plain_text(features.get(name)) for name in ATTRIBUTES},
        }


_FROM = "https://github.com/wayfair/WANDS/raw/main/dataset/"
FILES = {
    "product.csv": "the products, from the folder dataset",
    "query.csv": "the searches",
    "label.csv": "the judgments",
}
WANDS = PublicSet(
    name="wands",
    title="Wayfair ANnotation Dataset (WANDS)",
    homepage="https://github.com/wayfair/WANDS",
    licence="MIT",
    citation=(
        "Chen, Liu, Liu, Sun, Baltrunas and Schroeder, WANDS: Dataset for Product Search Relevance "
        "Assessment, ECIR 2022"
    ),
    files=FILES,
    write=write_wands,
    downloads={name: _FROM + name for name in FILES},
)
