"""Users' histories of a run, parted into what is clustered and what is to be foreseen."""

import hashlib
import heapq
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tfrs_sage.users.alternatives import Vectors
from tfrs_sage.users.clusters import Actions
from tfrs_sage.users.config import ClusterConfig
from tfrs_sage.users.protocol import UserSplit
from tfrs_sage.users.retrieval import Catalogue

# A user a row: times in microseconds since the epoch, rows of the items, weights. A side without
# actions is empty or null.
SCHEMA = pa.schema(
    [("user", pa.string())]
    + [
        (f"{side}_{name}", pa.list_(kind))
        for side in ("past", "future")
        for name, kind in (("time", pa.int64()), ("row", pa.int32()), ("weight", pa.float32()))
    ]
)
BATCH_USERS = 256
SECOND = 1_000_000  # in microseconds


class Histories:
    """The users of some Parquet files of `SCHEMA`, by id, as often as they are asked for.

    A user's moment is that of the first future action: earlier actions of the past splits are
    clustered, within the window. So a history never holds what came after the question, whatever
    the splits of the tables are.

    The columns are held as they are, 16 bytes an action; vectors are looked up user by user.

    Args:
        folder: of the files, in any order: the order of their users does not matter.
        item_ids: of the items, by row.
        vectors: float32 `[n, d]`, of the items, by row.
        config: `window_days` and `max_actions`.
        max_users: users at most, chosen by a hash of their ids: the same on every call; None for
            all.

    Attributes:
        catalogue: the items.
        num_users: with actions on both sides of their moment.
        num_past, num_future: their actions.
        num_left_out: the other users of the files.
    """

    def __init__(
        self,
        folder: Path,
        item_ids: list[str],
        vectors: Vectors,
        config: ClusterConfig,
        max_users: int | None = None,
    ) -> None:
        self.catalogue = Catalogue(item_ids, vectors)
        self._item_ids, self._vectors, self._config = item_ids, vectors, config
        files = sorted(folder.glob("*.parquet"))
        parts = [pq.read_table(file, schema=SCHEMA) for file in files]
        users = pa.concat_tables(parts or [SCHEMA.empty_table()])
        seen = len(users)
        self._users = users.sort_by("user").filter(pc.list_value_length(pc.field("future_row")) > 0)
        kept = {user.user_id: (len(user.past), len(user.future)) for user in self}
        self.num_left_out = seen - len(kept)
        if max_users is not None and len(kept) > max_users:
            kept = {name: kept[name] for name in heapq.nsmallest(max_users, kept, key=_hash)}
        self._users = self._users.filter(
            pc.is_in(self._users["user"], pa.array(list(kept), pa.string()))
        )
        self.num_users = len(kept)
        self.num_past = sum(past for past, _ in kept.values())
        self.num_future = sum(future for _, future in kept.values())

    def __iter__(self) -> Iterator[UserSplit]:
        """Each user, in ascending order of the id."""
        for batch in self._users.to_batches(BATCH_USERS):
            for row in batch.to_pylist():
                past, future = self._actions(row, "past"), self._actions(row, "future")
                now = float(future.times.min())
                past = past.recent(now, self._config.window_days, self._config.max_actions)
                if len(past):
                    yield UserSplit(row["user"], past, future, now)

    def _actions(self, row: Mapping[str, Any], side: str) -> Actions:
        """One side of a row; the files hold them oldest first."""
        rows = row[f"{side}_row"] or []
        times = np.array(row[f"{side}_time"] or [], np.float64) / SECOND
        ids = [self._item_ids[one] for one in rows]
        vectors = self._vectors[np.array(rows, np.int64)]
        return Actions(ids, vectors, times, np.array(row[f"{side}_weight"] or []))


def _hash(user_id: str) -> bytes:
    return hashlib.blake2b(user_id.encode(), digest_size=8).digest()
