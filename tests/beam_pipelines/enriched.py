"""Reads back what the enrichment jobs wrote."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tfrs_sage.artefacts import read_manifest


def enrichment_rows(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """The rows of an enrichment folder by (entity, id); its manifest counts them."""
    rows = [
        row for path in folder.glob("part-*.parquet") for row in pq.read_table(path).to_pylist()
    ]
    found = {(row["entity"], row["id"]): row for row in rows}
    assert len(found) == len(rows) == sum(read_manifest(folder)["entities"].values())
    return found
