"""H&M: two years of purchases of clothes, with texts and photographs of the articles."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tfrs_sage.datasets.public.csv_rows import csv_batches, csv_rows
from tfrs_sage.datasets.public.source import STRINGS, TIMED_ENGAGEMENTS, PublicSet, plain_text
from tfrs_sage.datasets.writing import row_batches, write_table

COLUMNS = (
    *("article_id", "prod_name", "product_type_name", "graphical_appearance_name"),
    *("colour_group_name", "index_group_name", "section_name", "garment_group_name", "detail_desc"),
)
_TEXTS = ("product_id", "title", "description", "google_product_category", "product_type")
PRODUCT_SCHEMA = pa.schema(
    [(name, pa.string()) for name in (*_TEXTS, "color", "pattern")] + [("image_paths", STRINGS)]
)


def write_hm(folder: Path, place: Path, options: Mapping[str, Any]) -> dict[str, int]:
    """Writes the articles, purchases as histories, and what was bought together.

    `user/product/buy`: each purchase. `product/product/bought_together`: from an article to the
    next other one of the same customer on the same day, as the file has them. There is no split:
    rows are split by time. The pictures stay where they are; `images` leads there.

    Args:
        folder: holds `articles.csv`, `transactions_train.csv` and, if wanted, `images/`.
        place: folder of the tables.
        options: none.
    """
    images = folder / "images"
    if images.is_dir():
        (place / "images").symlink_to(images.resolve())
    known: list[str] = []

    def articles() -> Iterator[dict[str, Any]]:
        for row in article_rows(folder):
            known.append(row["product_id"])
            yield row

    products = row_batches(articles(), PRODUCT_SCHEMA)
    counts = {"products": write_table(place / "products.parquet", PRODUCT_SCHEMA, products)}
    purchases = purchase_batches(folder, pa.array(known))
    counts["engagements"] = write_table(place / "engagements.parquet", TIMED_ENGAGEMENTS, purchases)
    return counts


def article_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """Articles; ids keep their leading zero, and the picture is named where there is one."""
    for row in csv_rows(folder / "articles.csv", COLUMNS):
        article = row["article_id"].zfill(10)
        image = f"images/{article[:3]}/{article}.jpg"
        groups = (row["index_group_name"], row["section_name"], row["garment_group_name"])
        yield {
            "product_id": article,
            "title": plain_text(row["prod_name"]),
            "description": plain_text(row["detail_desc"]),
            "google_product_category": " > ".join(filter(None, groups)) or None,
            "product_type": plain_text(row["product_type_name"]),
            "color": plain_text(row["colour_group_name"]),
            "pattern": plain_text(row["graphical_appearance_name"]),
            "image_paths": [image] if (folder / image).is_file() else [],
        }


def purchase_batches(folder: Path, known: pa.Array) -> Iterator[pa.RecordBatch]:
    """Purchases and successions of a block of the file, block by block, without a Python loop.

    Only of the articles in `known`. A basket that lies across two blocks loses the pair between
    them.
    """
    for batch in csv_batches(
        folder / "transactions_train.csv", ("t_dat", "customer_id", "article_id")
    ):
        article = pc.utf8_lpad(batch.column("article_id"), 10, "0")
        is_known = pc.is_in(article, known)
        batch, article = batch.filter(is_known), article.filter(is_known)
        day, customer = batch.column("t_dat"), batch.column("customer_id")
        time = pc.strptime(day, "%Y-%m-%d", "ms").cast(pa.timestamp("ms", tz="UTC"))
        yield _engagements("user", customer, article, "buy", customer, time)
        if len(batch) < 2:
            continue
        before, after = slice(0, len(batch) - 1), slice(1, len(batch))
        same = pc.and_(
            pc.and_(pc.equal(day[after], day[before]), pc.equal(customer[after], customer[before])),
            pc.not_equal(article[after], article[before]),
        )
        yield _engagements(
            "product",
            article[before].filter(same),
            article[after].filter(same),
            "bought_together",
            customer[after].filter(same),
            time[after].filter(same),
        )


def _engagements(
    query_type: str,
    query: pa.Array,
    article: pa.Array,
    action: str,
    customer: pa.Array,
    time: pa.Array,
) -> pa.RecordBatch:
    def all_of(word: str) -> pa.Array:
        return pa.array([word], pa.string()).take(pa.array([0] * len(article)))

    columns = {
        "query_type": all_of(query_type),
        "query": query,
        "candidate_type": all_of("product"),
        "candidate": article,
        "action": all_of(action),
        "user_id": customer,
        "timestamp": time,
    }
    return pa.RecordBatch.from_pydict(columns, TIMED_ENGAGEMENTS)


HM = PublicSet(
    name="hm",
    title="H&M Personalized Fashion Recommendations",
    homepage="https://www.kaggle.com/competitions/h-and-m-personalized-fashion-recommendations/data",
    licence="Kaggle's competition rules: non-commercial use, no redistribution",
    citation="García Ling et al., H&M Personalized Fashion Recommendations, Kaggle (2022)",
    files={
        "articles.csv": "the articles",
        "transactions_train.csv": "the purchases; and, if wanted, the folder images/ beside them",
    },
    write=write_hm,
    login="Kaggle asks for a login and for its rules to be accepted, so there is no --download",
)
