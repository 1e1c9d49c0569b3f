"""A run's embeddings as a column of tables, for the next model to be compatible with."""

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfrs_sage.artefacts import whole_folder
from tfrs_sage.errors import InputError
from tfrs_sage.index.embeddings import read_embeddings
from tfrs_sage.schema.features import VECTOR_SUFFIX
from tfrs_sage.schema.reading import is_local, iter_batches, table_files
from tfrs_sage.schema.rows import MALFORMED
from tfrs_sage.schema.tables import ENTITY_TABLE, TABLES

Embedded = tuple[Mapping[str, int], np.ndarray]  # row of each id, vectors


def write_embedding_column(
    run_dir: Path, input: str, column: str, output: Path
) -> dict[str, dict[str, int]]:
    """Writes a copy of tables whose products and pins have the run's embedding as one more column.

    The two tables are written as Parquet, with the columns that the schema knows; all other files
    are hard links to those of `input`, or copies where the disk is another. A row that the run has
    not embedded gets no vector.

    Args:
        run_dir: holds `embeddings/product` and, where it has pins, `embeddings/pin`.
        input: local folder of tables: those of the run, or newer ones with the same ids.
        column: `<name>_embedding`, new to the tables.
        output: folder that appears, whole or not at all.

    Returns:
        By table `rows`, `with_vector` and `dimension`.

    Raises:
        InputError: an unfit column name, tables that are not local or cannot be read, no
            embeddings, or an output folder that is there already.
    """
    if not re.fullmatch(rf"\S+{VECTOR_SUFFIX}", column):
        raise InputError(
            f"--as-column must be a name that ends in {VECTOR_SUFFIX}, as vectors of the tables "
            f"do. Received: {column!r}. Use for example {column.strip() or 'old'}{VECTOR_SUFFIX}."
        )
    if not is_local(input):
        raise InputError(f"--as-column copies tables of this machine. Received: {input}.")
    if output.exists() or Path(input).resolve() in output.resolve().parents:
        raise InputError(
            "--output must be a new folder, outside of the tables. "
            f"Found: {output}, tables in {input}. Name another."
        )
    folders = {entity: run_dir / "embeddings" / entity for entity in ENTITY_TABLE}
    embedded = {entity: folder for entity, folder in folders.items() if folder.is_dir()}
    if not embedded:
        raise InputError(f"{run_dir} must hold embeddings. Found: none. Run embed first.")
    files = table_files(input)
    rewritten = [ENTITY_TABLE[e] for e in embedded if ENTITY_TABLE[e] in files]
    left = {os.path.abspath(path) for table in rewritten for path in files[table]}
    written = {}
    with whole_folder(output) as folder:
        _link_all(Path(input), folder, left)
        for entity, vectors in embedded.items():
            if (table := ENTITY_TABLE[entity]) in rewritten:
                written[table] = _write_table(input, table, vectors, column, folder)
    return written


def _link_all(source: Path, target: Path, left: set[str]) -> None:
    """Every file of `source` but those of `left`, in the same places."""

    def leave(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if os.path.abspath(os.path.join(folder, name)) in left]

    def link(path: str, to: str) -> Any:
        try:
            os.link(path, to)
        except OSError:  # another disk, or one without links
            shutil.copy2(path, to)
        return to

    shutil.copytree(source, target, ignore=leave, copy_function=link, dirs_exist_ok=True)


def _write_table(
    input: str, table: str, embeddings: Path, column: str, folder: Path
) -> dict[str, int]:
    ids, vectors = read_embeddings(embeddings)
    row_of = {str(one): row for row, one in enumerate(ids)}
    id_column = TABLES[table].id_column or ""
    counts = {"rows": 0, "with_vector": 0, "dimension": int(vectors.shape[1])}
    # A file a batch: with JSON Lines any batch may bring other columns than the one before.
    for number, (first, path, batch) in enumerate(iter_batches(input, table)):
        if MALFORMED in batch.schema.names:
            raise InputError(
                f"{path} must have cells of their columns' types. Found others from row {first} "
                "on. `tfrs-sage validate` names each: correct them."
            )
        if column in batch.schema.names:
            raise InputError(
                f"--as-column must be new to the tables. Found: {column} in {path}. Name another."
            )
        rows = [row_of.get(one) for one in batch.column(id_column).to_pylist()]
        cells = [None if row is None else vectors[row] for row in rows]
        counts["rows"] += len(rows)
        counts["with_vector"] += sum(row is not None for row in rows)
        written = pa.Table.from_batches([batch]).append_column(
            column, pa.array(cells, pa.list_(pa.float32()))
        )
        pq.write_table(written, folder / f"{table}-{number:05d}.parquet")
    return counts
