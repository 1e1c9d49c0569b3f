"""Tiny tables with known answers, and the same with planted faults."""

import io
import json
from pathlib import Path
from typing import Any

from PIL import Image

Rows = list[dict[str, Any]]


def picture(colour: tuple[int, int, int]) -> bytes:
    """A PNG of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(file, "PNG")
    return file.getvalue()


def write_tables(folder: Path, **tables: Rows) -> Path:
    """JSON Lines files, one a table, and the images a.png, b.png and broken.png."""
    folder.mkdir(parents=True)
    for name, rows in tables.items():
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "a.png").write_bytes(picture((200, 30, 30)))
    (folder / "b.png").write_bytes(picture((30, 30, 200)))
    (folder / "broken.png").write_bytes(picture((1, 2, 3))[:40])
    return folder


PRODUCTS: Rows = [
    {"product_id": "p1", "title": "Red sofa", "brand": "Ona", "image_paths": ["a.png", "b.png"]},
    {"product_id": "p2", "title": "Red bed", "graph_embedding": [0.5, -1.0, 2.0]},
    {"product_id": "p3", "title": "Blue sofa!", "image_paths": ["b.png"]},
    {"product_id": "p4"},
]
PINS: Rows = [{"pin_id": "i1", "title": "Red room", "board_titles": ["rooms", "red things"]}]


def engagement(query_type: str, query: str, candidate: str, split: str, **others: Any) -> Any:
    """One row about a product, a click unless said otherwise."""
    return {
        "query_type": query_type,
        "query": query,
        "candidate_type": "product",
        "candidate": candidate,
        "action": "click",
        "split": split,
        **others,
    }


ENGAGEMENTS: Rows = [
    engagement("search", "red sofa", "p1", "train"),
    engagement("search", "red sofa", "p1", "train"),  # the same again: merged
    engagement("search", "a bed", "p2", "train", action="save"),
    engagement("search", "unseen words", "p3", "test"),
    engagement("pin", "i1", "p2", "train"),
    engagement("product", "p1", "p3", "validation"),
    engagement("user", "u1", "p1", "train"),
    engagement("search", "red sofa", "red couch", "train", candidate_type="query"),
]

# Faults, and where each must be told: (row, column, words of what was found).
BAD_PRODUCTS: Rows = [
    {"product_id": "p5", "title": "Lamp", "image_paths": ["broken.png", "a.png", "absent.png"]},
    {"title": "no id"},
    {"product_id": "p1", "title": "a second p1"},
    {"product_id": "p6", "title": 7},
]
PRODUCT_FAULTS = [
    (5, "image_paths", "broken.png"),
    (5, "image_paths", "absent.png"),
    (6, "product_id", "null"),
    (7, "product_id", "'p1'"),
    (8, "title", "7"),
]
BAD_ENGAGEMENTS: Rows = [
    engagement("search", "lamp", "p5", "train"),  # good: the product lives without that image
    engagement("search", "lamp", "p99", "train"),
    engagement("product", "p98", "p1", "train"),
    engagement("product", "p98", "p97", "train"),  # both unknown: one row, told twice
    engagement("board", "b1", "p1", "train"),
    engagement("search", "lamp", "p1", "train", timestamp="yesterday"),
]
ENGAGEMENT_FAULTS = [
    (10, "candidate", "'p99'"),
    (11, "query", "'p98'"),
    (12, "candidate", "'p97'"),
    (12, "query", "'p98'"),
    (13, "query_type", "'board'"),
    (14, "timestamp", "'yesterday'"),
]
