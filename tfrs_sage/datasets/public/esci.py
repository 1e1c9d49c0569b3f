"""Amazon's Shopping Queries Data Set: searches with graded products, in three languages."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tfrs_sage.datasets.public.source import (
    ENGAGEMENTS,
    JUDGMENTS,
    PublicSet,
    hashed_split,
    plain_text,
    search_row,
)
from tfrs_sage.datasets.writing import ROWS_AT_ONCE, row_batches, write_table
from tfrs_sage.errors import InputError

EXAMPLES = "shopping_queries_dataset_examples.parquet"
PRODUCTS = "shopping_queries_dataset_products.parquet"
LOCALES = ("us", "es", "jp")
ACTIONS = {"E": "exact", "S": "substitute", "C": "complement"}
# Of the paper. A relevance r has the gain 2^r - 1 by default, so that these r have these gains.
GAINS = {"E": 1.0, "S": 0.1, "C": 0.01, "I": 0.0}
RELEVANCE = {label: math.log2(1.0 + gain) for label, gain in GAINS.items()}
VALIDATION_SHARE = 0.05  # of the training queries: the set has no validation split
PRODUCT_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("product_id", "title", "description", "brand", "color")]
)


def write_esci(folder: Path, place: Path, options: Mapping[str, Any]) -> dict[str, int]:
    """Writes products, engagements and judgments of one locale.

    E, S and C are the actions `exact`, `substitute` and `complement`; all four are judgments. The
    split is the set's own, a twentieth of the training queries being validation.

    Args:
        folder: holds `EXAMPLES` and `PRODUCTS`.
        place: folder of the tables.
        options: `locale`, of `LOCALES`; `small`, whether only the reduced version is taken (task 1
            of the set, the harder queries), with the products that it judges.
    """
    locale, small = options["locale"], options["small"]
    if locale not in LOCALES:
        raise InputError(f"--locale must be one of {', '.join(LOCALES)}. Received: {locale!r}.")
    judged = {row["product_id"] for row in examples(folder, locale, True)} if small else None
    rows = product_rows(folder, locale)
    known: set[str] = set()

    def kept() -> Iterator[dict[str, Any]]:
        for row in rows:
            if judged is None or row["product_id"] in judged:
                known.add(row["product_id"])
                yield row

    counts = {
        "products": write_table(
            place / "products.parquet", PRODUCT_SCHEMA, row_batches(kept(), PRODUCT_SCHEMA)
        )
    }
    for name, schema, table in (
        ("engagements", ENGAGEMENTS, engagement_rows),
        ("judgments", JUDGMENTS, judgment_rows),
    ):
        one = table(row for row in examples(folder, locale, small) if row["product_id"] in known)
        counts[name] = write_table(place / f"{name}.parquet", schema, row_batches(one, schema))
    return counts


def examples(folder: Path, locale: str, small: bool) -> Iterator[dict[str, Any]]:
    """`query`, `product_id`, `esci_label` and `split` of each judged pair of a locale."""
    columns = ["query", "product_id", "esci_label", "split"]
    for batch in _batches(folder / EXAMPLES, locale, [*columns, "small_version"]):
        if small:
            batch = batch.filter(pc.equal(batch.column("small_version"), 1))
        for row in batch.select(columns).to_pylist():
            query = " ".join((row["query"] or "").split())
            if query:
                train = row["split"] == "train"
                split = hashed_split(query, VALIDATION_SHARE, 0.0) if train else row["split"]
                yield {**row, "query": query, "split": split}


def product_rows(folder: Path, locale: str) -> Iterator[dict[str, Any]]:
    """Products of a locale; bullet points follow the description."""
    names = ("id", "title", "description", "bullet_point", "brand", "color")
    for batch in _batches(folder / PRODUCTS, locale, [f"product_{name}" for name in names]):
        for row in batch.to_pylist():
            texts = (row["product_description"], row["product_bullet_point"])
            yield {
                "product_id": row["product_id"],
                "title": plain_text(row["product_title"]),
                "description": plain_text(" ".join(filter(None, texts))),
                "brand": plain_text(row["product_brand"]),
                "color": plain_text(row["product_color"]),
            }


def engagement_rows(rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, str]]:
    """E, S and C as engagements."""
    for row in rows:
        if row["esci_label"] in ACTIONS:
            action = ACTIONS[row["esci_label"]]
            yield search_row(row["query"], row["product_id"], action, row["split"])


def judgment_rows(rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """All four labels as graded judgments."""
    for row in rows:
        yield {
            "query": row["query"],
            "product_id": row["product_id"],
            "relevance": RELEVANCE[row["esci_label"]],
            "split": row["split"],
        }


def _batches(path: Path, locale: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """The rows of a locale, some columns of them, a batch at a time."""
    file = pq.ParquetFile(path)
    wanted = [*columns, "product_locale"]
    if missing := sorted(set(wanted) - set(file.schema_arrow.names)):
        raise InputError(
            f"{path} must have the columns of the data set. Found: no {', '.join(missing)}; there "
            f"are {', '.join(file.schema_arrow.names)}."
        )
    for batch in file.iter_batches(ROWS_AT_ONCE, columns=wanted):
        yield batch.filter(pc.equal(batch.column("product_locale"), locale)).select(columns)


_FROM = "https://github.com/amazon-science/esci-data/raw/main/shopping_queries_dataset/"
FILES = {
    EXAMPLES: "queries and E/S/C/I labels, from the folder shopping_queries_dataset",
    PRODUCTS: "texts of the products, from the same folder",
}
CITATION = (
    "Reddy et al., Shopping Queries Dataset: A Large-Scale ESCI Benchmark for Improving Product "
    "Search, arXiv 2206.06588 (2022)"
)
ESCI = PublicSet(
    name="esci",
    title="Amazon Shopping Queries Data Set (ESCI)",
    homepage="https://github.com/amazon-science/esci-data",
    licence="Apache-2.0",
    citation=CITATION,
    files=FILES,
    write=write_esci,
    downloads={name: _FROM + name for name in FILES},
)
