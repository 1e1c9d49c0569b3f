"""A run folder with planted items, their index, and users, as if the jobs had made it."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_pipelines.user_batch import SCHEMA, publish, row_of
from beam_pipelines.vector_table import VectorTable, vector_table
from tests.beam_pipelines.embedded_run import write_run
from tests.users.planted import CONFIG, LIKED, NOW, VECTORS, planted_user
from tfrs_sage.artefacts import write_json
from tfrs_sage.index import build_index, read_embeddings
from tfrs_sage.training.config import load_config, save_config
from tfrs_sage.users.store import open_store

# What each user of the batch acted on; item 3.0 is the most popular, by three users.
USERS = {"u": LIKED, "v": ("3.0", "3.0", "3.1"), "w": ("3.0", "3.1"), "x": ("3.0",)}


def make_user_run(folder: Path) -> Path:
    """Catalogue with titles, embeddings, index, `users/batch` and the SQLite store."""
    write_run(folder, {}, {"product": VECTORS})
    settings = [f"users.{key}={value}" for key, value in CONFIG.model_dump().items() if value != {}]
    save_config(load_config("tiny", None, settings), folder / "config.yaml")
    ids, vectors = read_embeddings(folder / "embeddings" / "product")
    build_index(vectors, ids).save(folder / "index" / "product")
    batch = folder / "users" / "batch"
    batch.mkdir(parents=True)
    users = [planted_user(user_id, items).batch for user_id, items in USERS.items()]
    rows = pa.Table.from_pylist([row_of(user) for user in users], SCHEMA)
    pq.write_table(rows, batch / "part-00000-of-00001.parquet")
    write_json(batch / "manifest.json", {"counts": {"users": len(users)}, "as_of": NOW})
    with open_store(f"sqlite:///{folder}/users/store.sqlite") as store:
        publish(batch, store, VectorTable(vector_table(folder)), CONFIG)
    assert vectors.dtype == np.float32
    return folder
