"""The tables are those of the contract, name by name."""

import pytest

from tfrs_sage.schema.features import PIN_TEXTS, PRODUCT_TEXTS
from tfrs_sage.schema.tables import EXPECTED, TABLES, Column, Kind


def test_tables_and_required_columns() -> None:
    assert {name: spec.required_columns for name, spec in TABLES.items()} == {
        "products": ("product_id",),
        "pins": ("pin_id",),
        "boards": ("board_id",),
        "board_pins": ("board_id", "pin_id"),
        "engagements": ("query_type", "query", "candidate_type", "candidate", "action"),
        "judgments": ("query", "product_id", "relevance"),
    }
    assert [name for name, spec in TABLES.items() if spec.required] == ["products"]


def test_referenced_tables_come_first() -> None:
    # Validation goes through the tables in order and needs the ids before the references.
    names = list(TABLES)
    for spec in TABLES.values():
        for column in spec.columns.values():
            if column.references:
                assert names.index(column.references) < names.index(spec.name)


def test_every_text_feature_has_a_column() -> None:
    assert set(PRODUCT_TEXTS) < set(TABLES["products"].columns)
    assert set(PIN_TEXTS) < set(TABLES["pins"].columns)


@pytest.mark.parametrize("table", ["products", "pins"])
def test_further_embeddings_are_vectors(table: str) -> None:
    column = TABLES[table].column("style_embedding")
    assert column is not None and column.kind is Kind.VECTOR
    images = TABLES[table].column("image_embeddings")
    assert images is not None and images.kind is Kind.IMAGES


@pytest.mark.parametrize("name", ["usage", "_embedding", "graph_embedding_2", "Title", ""])
def test_other_names_are_unknown(name: str) -> None:
    assert TABLES["products"].column(name) is None


def test_events_have_no_vectors() -> None:
    assert TABLES["engagements"].column("graph_embedding") is None


def test_every_kind_says_what_it_expects() -> None:
    assert set(EXPECTED) == set(Kind)
    assert Column(Kind.WORD, values=("a", "b")).expected == "one of a, b"
