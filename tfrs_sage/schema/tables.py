"""The input tables: which columns each has, what a column holds, what it refers to.

A column is of one `Kind`. Readers bring every file format to one Arrow type a kind
(`schema.conversion`), so what comes after them sees the same values whether the table was
Parquet, JSON Lines or CSV.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tfrs_sage.schema.features import (
    CANDIDATE_TYPES,
    ENTITY_TEXTS,
    IMAGE_DIM,
    QUERY_TYPES,
    SPLITS,
    VECTOR_SUFFIX,
)


class Kind(StrEnum):
    """What the cells of a column hold."""

    ID = "id"  # a non-empty string
    TEXT = "text"  # a string, or nothing
    TEXTS = "texts"  # a string or a list of strings, read as one string joined by spaces
    WORD = "word"  # one of `Column.values`
    ACTION = "action"  # any word without slash or white space: it is part of a task's name
    PATHS = "paths"  # a list of file paths relative to the folder
    IMAGES = "images"  # a list of vectors of width `IMAGE_DIM`
    VECTOR = "vector"  # a list of floats, one width a column
    NUMBER = "number"  # a finite number
    TIMESTAMP = "timestamp"  # a point in time; without an offset it is UTC


EXPECTED: Mapping[Kind, str] = {
    Kind.ID: "a non-empty string",
    Kind.TEXT: "a string",
    Kind.TEXTS: "a string or a list of strings",
    Kind.WORD: "a string",
    Kind.ACTION: "a non-empty word without slash or white space",
    Kind.PATHS: "a list of strings",
    Kind.IMAGES: f"a list of vectors of {IMAGE_DIM} floats",
    Kind.VECTOR: "a list of floats",
    Kind.NUMBER: "a finite number",
    Kind.TIMESTAMP: "a timestamp, or ISO 8601 text such as 2026-01-31T12:00:00Z",
}


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        kind: what its cells hold.
        required: the column must be there and every cell must have a value.
        values: the words that a `Kind.WORD` may be.
        references: the table whose ids the cells name.
        type_column: where the referenced table depends on the row, the column that says which
            (`query_type`, `candidate_type`).
    """

    kind: Kind
    required: bool = False
    values: tuple[str, ...] = ()
    references: str | None = None
    type_column: str | None = None

    @property
    def expected(self) -> str:
        """What a cell should be, in words."""
        return f"one of {', '.join(self.values)}" if self.values else EXPECTED[self.kind]


VECTOR_COLUMN = Column(Kind.VECTOR)
_VECTOR_NAME = re.compile(rf"^\S+{VECTOR_SUFFIX}$")


@dataclass(frozen=True)
class TableSpec:
    """One input table.

    Attributes:
        name: of the table and of its files.
        columns: the known columns by name.
        id_column: the column whose values are unique; none for tables of events.
        required: the folder must hold this table.
        vectors: further columns named `<name>_embedding` are vectors of the entity.
    """

    name: str
    columns: Mapping[str, Column] = field(hash=False)
    id_column: str | None = None
    required: bool = False
    vectors: bool = False

    @property
    def required_columns(self) -> tuple[str, ...]:
        return tuple(name for name, column in self.columns.items() if column.required)

    def column(self, name: str) -> Column | None:
        """The column of this name, or None when the table does not know it."""
        known = self.columns.get(name)
        if known is None and self.vectors and _VECTOR_NAME.match(name):
            return VECTOR_COLUMN
        return known


_ID = Column(Kind.ID, required=True)
_TEXT = Column(Kind.TEXT)
_LISTS = ("board_titles", "engaged_queries")
_IMAGE_COLUMNS = {"image_paths": Column(Kind.PATHS), "image_embeddings": Column(Kind.IMAGES)}
_SPLIT = Column(Kind.WORD, values=SPLITS)


def _texts(entity: str) -> dict[str, Column]:
    return {name: Column(Kind.TEXTS) if name in _LISTS else _TEXT for name in ENTITY_TEXTS[entity]}


TABLES: Mapping[str, TableSpec] = {
    spec.name: spec
    for spec in (
        TableSpec(
            "products",
            {"product_id": _ID, **_texts("product"), **_IMAGE_COLUMNS},
            id_column="product_id",
            required=True,
            vectors=True,
        ),
        TableSpec(
            "pins",
            {
                "pin_id": _ID,
                **_texts("pin"),
                **_IMAGE_COLUMNS,
                "product_id": Column(Kind.ID, references="products"),
            },
            id_column="pin_id",
            vectors=True,
        ),
        TableSpec("boards", {"board_id": _ID, "title": _TEXT}, id_column="board_id"),
        TableSpec(
            "board_pins",
            {
                "board_id": Column(Kind.ID, required=True, references="boards"),
                "pin_id": Column(Kind.ID, required=True, references="pins"),
                "timestamp": Column(Kind.TIMESTAMP),
            },
        ),
        TableSpec(
            "engagements",
            {
                "query_type": Column(Kind.WORD, required=True, values=QUERY_TYPES),
                "query": Column(Kind.ID, required=True, type_column="query_type"),
                "candidate_type": Column(Kind.WORD, required=True, values=CANDIDATE_TYPES),
                "candidate": Column(Kind.ID, required=True, type_column="candidate_type"),
                "action": Column(Kind.ACTION, required=True),
                "user_id": Column(Kind.ID),
                "timestamp": Column(Kind.TIMESTAMP),
                "split": _SPLIT,
            },
        ),
        TableSpec(
            "judgments",
            {
                "query": _ID,
                "product_id": Column(Kind.ID, required=True, references="products"),
                "relevance": Column(Kind.NUMBER, required=True),
                "split": _SPLIT,
            },
        ),
    )
}
# The table of the entity that a `query_type` or `candidate_type` names; `search` and `query` are
# texts and `user` is nobody's row, so they refer to no table.
ENTITY_TABLE: Mapping[str, str] = {"product": "products", "pin": "pins"}
