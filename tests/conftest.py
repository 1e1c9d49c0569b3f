"""Fixtures that every room's tests share: a small, correct folder of every input table."""

import copy
import csv
import datetime
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tfrs_sage.schema.conversion import ARROW_TYPES
from tfrs_sage.schema.tables import TABLES, Kind

Rows = dict[str, list[dict[str, Any]]]

GRAPH_DIM = 4


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long tests first: else one of two workers has nothing to do while they end."""
    items.sort(key=lambda item: item.get_closest_marker("integration") is None)


def _image(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _vector(seed: int, dim: int) -> list[float]:
    return [float(x) for x in np.random.default_rng(seed).normal(size=dim).astype(np.float32)]


def _moment(day: int) -> datetime.datetime:
    return datetime.datetime(2026, 1, day, 12, 30, tzinfo=datetime.UTC)


def _engagement(query_type: str, query: str, candidate: str, action: str, **more: Any) -> dict:
    candidate_type = {"s": "product", "p": "pin"}[candidate[0]]
    return {
        "query_type": query_type,
        "query": query,
        "candidate_type": candidate_type,
        "candidate": candidate,
        "action": action,
        "user_id": None,
        "timestamp": None,
        "split": None,
        **more,
    }


def _make_rows() -> Rows:
    colors = ("red", "green", "blue", "black", "white", "oak")
    products = [
        {
            "product_id": f"s{number}",
            "title": f"{color} sofa",
            "description": None if number % 2 else f"A sofa, {color}.",
            "color": color,
            "link_domain": "example.org",
            # Beside the tables, in the tar, and no image at all.
            "image_paths": [[f"images/s{number}.png"], [f"images/s{number}.png"], None][number % 3],
            "graph_embedding": _vector(number, GRAPH_DIM) if number % 2 else None,
        }
        for number, color in enumerate(colors)
    ]
    pins = [
        {
            "pin_id": f"p{number}",
            "title": f"living room {number}",
            "image_embeddings": [_vector(10 + number, 256)] if number else None,
            "graph_embedding": _vector(20 + number, GRAPH_DIM),
            "product_id": f"s{number}" if number else None,
            "caption": "a room with a sofa",
            "board_titles": "rooms sofas",
            "engaged_queries": "sofa",
        }
        for number in range(3)
    ]
    engagements = [
        _engagement("search", f"{color} sofa", f"s{number}", "click", split=split)
        for number, (color, split) in enumerate(
            zip(colors, ("train", "train", "train", "train", "validation", "test"), strict=True)
        )
    ]
    engagements += [
        _engagement("pin", "p1", "s1", "save", timestamp=_moment(3), split="train"),
        _engagement("product", "s0", "s3", "add_to_cart", timestamp=_moment(4), split="train"),
        _engagement("search", "sofa", "p2", "click", split="train"),
        _engagement("user", "u1", "p0", "save", user_id="u1", timestamp=_moment(5), split="train"),
    ]
    return {
        "products": products,
        "pins": pins,
        "boards": [{"board_id": "b0", "title": "rooms"}, {"board_id": "b1", "title": "sofas"}],
        "board_pins": [
            {"board_id": "b0", "pin_id": "p0", "timestamp": _moment(1)},
            {"board_id": "b1", "pin_id": "p2", "timestamp": None},
        ],
        "engagements": engagements,
        "judgments": [
            {"query": "sofa", "product_id": "s0", "relevance": 3.0, "split": "test"},
            {"query": "sofa", "product_id": "s1", "relevance": 1.5, "split": "test"},
        ],
    }


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Writes rows as Parquet, JSON Lines or CSV, by the extension of `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(name for row in rows for name in row))
    if path.suffix == ".parquet":
        spec = TABLES.get(path.stem.split("-")[0])
        columns = {}
        for name in names:
            values = [row.get(name) for row in rows]
            column = spec.column(name) if spec else None
            fitting = column is not None and column.kind is not Kind.TEXTS
            columns[name] = _array(values, ARROW_TYPES[column.kind] if fitting else None)
        pq.write_table(pa.table(columns), path)
    elif path.suffix == ".jsonl":
        lines = [json.dumps(row, default=str) + "\n" for row in rows]
        path.write_text("".join(lines), encoding="utf-8")
    else:
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(names)
            for row in rows:
                cells = [row.get(name) for name in names]
                writer.writerow([json.dumps(c) if isinstance(c, list) else c for c in cells])
    return path


def _array(values: list[Any], arrow_type: pa.DataType | None) -> pa.Array:
    """In the type of the schema, or in the type of the values where they do not fit it."""
    try:
        return pa.array(values, arrow_type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return pa.array(values)


def write_tables(folder: Path, rows: Rows, extension: str = "parquet") -> Path:
    """Writes every table, and the images that `products` names: some beside, some in a tar."""
    for table, table_rows in rows.items():
        write_table(folder / f"{table}.{extension}", table_rows)
    with tarfile.open(folder / "images.tar", "w") as tar:
        for number in range(6):
            name, image = f"images/s{number}.png", _image(number)
            if number % 3 == 0:
                (folder / "images").mkdir(exist_ok=True)
                (folder / name).write_bytes(image)
            elif number % 3 == 1:
                member = tarfile.TarInfo(name)
                member.size = len(image)
                tar.addfile(member, io.BytesIO(image))
    return folder


@pytest.fixture
def table_rows() -> Rows:
    """Rows of every table, correct and to be changed at will."""
    return copy.deepcopy(_make_rows())


@pytest.fixture
def tables(tmp_path: Path, table_rows: Rows) -> Path:
    """A folder of every table as Parquet, correct: 6 products, 3 pins, 10 engagements, images."""
    return write_tables(tmp_path / "tables", table_rows)
