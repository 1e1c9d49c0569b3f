"""Users' histories of a run, parted into what is clustered and what is to be foreseen."""

import hashlib
import heapq
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfrs_sage.users.alternatives import Vectors
from tfrs_sage.users.clusters import Actions
from tfrs_sage.users.config import ClusterConfig
from tfrs_sage.users.protocol import UserSplit
from tfrs_sage.users.retrieval import Catalogue

# A user a row: times in microseconds since the epoch, rows of the items, weights. A side without
# actions is empty.
SCHEMA = pa.schema(
    [("user", pa.string())]
    + [
        (f"{side}_{name}", pa.list_(kind))
        for side in ("past", "future")
        for name, kind in (("time", pa.int64()), ("row", pa.int32()), ("weight", pa.float32()))
    ]
)
BATCH_USERS = 256


class Histories:
    """The users of some Parquet files of `SCHEMA`, as often as they are asked for.

    A user's moment is that of the first future action: earlier actions of the past splits are
    clustered, within the window. So a history never holds what came after the question, whatever
    the splits of the tables are.

    Args:
        folder: of the files.
        item_ids: of the items, by row.
        vectors: float32 `[n, d]`, of the items, by row.
        config: `window_days` and `max_actions`.
        max_users: users at most, chosen by a hash of their ids: the same on every call; None for
            all.

    Attributes:
        num_users: with a past and a future; found by reading the files once.
        num_past, num_future: their actions.
        num_left_out: users with one side only, or no action within the window.
    """

    def __init__(
        self,
        folder: Path,
        item_ids: list[str],
        vectors: Vectors,
        config: ClusterConfig,
        max_users: int | None = None,
    ) -> None:
        self._files = sorted(folder.glob("*.parquet"))
        self.catalogue = Catalogue(item_ids, vectors)
        self._item_ids, self._vectors, self._config = item_ids, vectors, config
        self._wanted: set[str] | None = None
        self.num_users = self.num_past = self.num_future = self.num_left_out = 0
        order = []
        for user_id, split in self._all():
            if split is None:
                self.num_left_out += 1
                continue
            self.num_users += 1
            order.append((hashlib.blake2b(user_id.encode(), digest_size=8).digest(), user_id))
        if max_users is not None and max_users < self.num_users:
            self._wanted = {user_id for _, user_id in heapq.nsmallest(max_users, order)}
            self.num_users = max_users
        for split in self:
            self.num_past += len(split.past)
            self.num_future += len(split.future)

    def __iter__(self) -> Iterator[UserSplit]:
        """Each user in the order of the files; a batch of them is held at a time."""
        for user_id, split in self._all():
            if split is not None and (self._wanted is None or user_id in self._wanted):
                yield split

    def _all(self) -> Iterator[tuple[str, UserSplit | None]]:
        for path in self._files:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(BATCH_USERS):
                    for row in batch.to_pylist():
                        yield row["user"], self._split(row)

    def _split(self, row: dict[str, list]) -> UserSplit | None:
        if not row["past_time"] or not row["future_time"]:
            return None
        past, future = self._actions(row, "past"), self._actions(row, "future")
        now = float(future.times.min())
        past = past.recent(now, self._config.window_days, self._config.max_actions)
        return UserSplit(str(row["user"]), past, future, now) if len(past) else None

    def _actions(self, row: dict[str, list], side: str) -> Actions:
        rows = row[f"{side}_row"]
        times = np.array(row[f"{side}_time"], np.float64) / 1e6
        ids = [self._item_ids[one] for one in rows]
        return Actions(ids, self._vectors[rows], times, np.array(row[f"{side}_weight"]))
