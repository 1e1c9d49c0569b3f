"""A small run with item embeddings, and engagements of users, for the jobs that cluster them."""

import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.users.stores import vector_of
from tfrs_sage.artefacts import write_json
from tfrs_sage.users.clusters import Actions, UserClusters, cluster_user
from tfrs_sage.users.config import ClusterConfig
from tfrs_sage.users.store import StoredUser, open_store

ITEMS = [f"{axis}.{number}" for axis in range(4) for number in range(30)]
CONFIG = ClusterConfig(threshold=0.5, online_actions=20, window_days=30)
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
Row = dict[str, Any]


def make_run(folder: Path, items: list[str] = ITEMS) -> Path:
    """A run folder whose product embeddings are those of `vector_of`, in two files, unordered."""
    place = folder / "embeddings" / "product"
    place.mkdir(parents=True)
    mixed = [items[row] for row in np.random.default_rng(0).permutation(len(items))]
    for number, part in enumerate((mixed[:50], mixed[50:])):
        vectors = np.stack([vector_of(item) for item in part])
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
        table = pa.table({"id": part, "embedding": column})
        pq.write_table(table, place / f"part-{number}.parquet")
    about = {"entity": "product", "dimension": 8, "count": len(items), "model_fingerprint": "f"}
    write_json(place / "manifest.json", about)
    return folder


def row(user: str, item: str, time: float | None, **others: Any) -> Row:
    """One row of a history; `time` in seconds since the epoch."""
    when = None if time is None else (EPOCH + datetime.timedelta(seconds=time)).isoformat()
    return {
        "query_type": "user",
        "query": user,
        "candidate_type": "product",
        "candidate": item,
        "action": "click",
        "timestamp": when,
        "split": "train",
        **others,
    }


def random_rows(users: int, seed: int = 0) -> list[Row]:
    """Histories of 1 to 60 actions in 20 days, every moment another, in no order."""
    rng = np.random.default_rng(seed)
    owners = np.concatenate([[number] * int(rng.integers(1, 60)) for number in range(users)])
    times = rng.permutation(len(owners)) * (20 * 86_400 // len(owners)) + 1_000_000
    rows = [
        row(f"u{owner}", ITEMS[rng.integers(len(ITEMS))], float(time))
        for owner, time in zip(owners, times, strict=True)
    ]
    return [rows[one] for one in rng.permutation(len(rows))]


def write_rows(folder: Path, rows: list[Row]) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(one) for one in rows]
    (folder / "engagements.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(folder)


def seconds(one: Row) -> float:
    return datetime.datetime.fromisoformat(one["timestamp"]).timestamp()


def expected(rows: list[Row], config: ClusterConfig, now: float) -> dict[str, UserClusters]:
    """What the library makes of rows that all count, user by user."""
    by_user: dict[str, list[Row]] = {}
    for one in rows:
        by_user.setdefault(one["query"], []).append(one)
    found = {}
    for user, own in by_user.items():
        items = [one["candidate"] for one in own]
        weights = [config.action_weights.get(one["action"], 1.0) for one in own]
        actions = Actions(
            items, np.stack([vector_of(item) for item in items]), list(map(seconds, own)), weights
        )
        found[user] = cluster_user(user, actions, config, now, keep_members=True)
    return {user: one for user, one in found.items() if one.num_actions}


def stored(url: str, users: list[str]) -> dict[str, StoredUser]:
    with open_store(url) as store:
        return store.get_many(users)
