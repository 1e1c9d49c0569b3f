"""A run's users as the page shows them: who there is, one user's clusters and recommendations."""

import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from serving.users import UserService, store_errors
from tfrs_sage.users.recommend import checked_k
from tfrs_sage.users.store import StoredUser

MAX_USERS = 48  # that a list names
SHOWN_ITEMS = 60  # recommendations, where the run's `users.num_candidates` allows so many
_MEMBERS = 12  # items of a cluster that are named
_USERS_AT_ONCE = 16_384
_MEDOIDS = 4  # of a user in a list
_READ = ["user_id", "num_actions", "clusters"]
_SUMMARY = pa.schema(
    [
        ("user_id", pa.string()),
        ("num_actions", pa.int64()),
        ("num_clusters", pa.int64()),
        ("medoid_ids", pa.list_(pa.string())),
    ]
)
_ORDER = [("num_clusters", "descending"), ("num_actions", "descending"), ("user_id", "ascending")]


class People:
    """Users of a run; for all threads.

    Args:
        service: answers for users.
        batch: `RUN/users/batch`; read when it is first asked for, and kept without the members
            of clusters.
    """

    def __init__(self, service: UserService, batch: Path) -> None:
        self._recommender, self._batch = service.recommender, batch
        self._lock = threading.Lock()
        self._users: pa.Table | None = None

    def __len__(self) -> int:
        return int(self._table().num_rows)

    def listed(self, part: str) -> dict[str, Any]:
        """Users of the batch whose id contains `part`, those with the most clusters first.

        Returns:
            `users`, at most `MAX_USERS` of `user_id`, `num_clusters`, `num_actions` and
            `medoid_ids` (some); `num_users`, how many there are.
        """
        users = self._table()
        if part:
            users = users.filter(pc.match_substring(users["user_id"], part, ignore_case=True))
        return {"users": users.slice(0, MAX_USERS).to_pylist(), "num_users": users.num_rows}

    def told(self, user_id: str, seed: int | None) -> dict[str, Any]:
        """One user: `user_id`, `known`, `source`, `clusters` and `rows` of recommendations.

        A row has `medoid_id` (None for what is popular) and `items` (`item_id`, `score`), best
        first; a cluster tells whether it was `drawn` for this answer.

        Raises:
            ServingError: FAILED_PRECONDITION or UNAVAILABLE, as `UserService` has them.
        """
        recommender = self._recommender
        with store_errors(recommender.store):
            stored = recommender.store.get(user_id)
            k = checked_k(min(SHOWN_ITEMS, recommender.config.num_candidates), recommender.config)
            found = recommender.recommend_to(stored or StoredUser(user_id), k, seed)
        rows: dict[str | None, list[dict[str, Any]]] = {}
        for item in found.items:
            shown = {"item_id": item.item_id, "score": item.score}
            rows.setdefault(item.medoid_id, []).append(shown)
        drawn = [one.medoid_id for one in found.medoids]
        clusters = sorted(stored.clusters if stored else (), key=lambda one: -one.importance)
        return {
            "user_id": user_id,
            "known": stored is not None,
            "source": found.source,
            "clusters": [
                {
                    "medoid_id": one.medoid_id,
                    "size": one.size,
                    "importance": one.importance,
                    "last_time": one.last_time,
                    "member_ids": list(one.member_ids[:_MEMBERS]),
                    "drawn": one.medoid_id in drawn,
                }
                for one in clusters
            ],
            "rows": [{"medoid_id": medoid, "items": items} for medoid, items in rows.items()],
        }

    def _table(self) -> pa.Table:
        with self._lock:
            if self._users is None:
                batches = (
                    _summary(batch)
                    for path in sorted(self._batch.glob("part-*.parquet"))
                    for batch in pq.ParquetFile(path).iter_batches(_USERS_AT_ONCE, columns=_READ)
                )
                self._users = pa.Table.from_batches(batches, _SUMMARY).sort_by(_ORDER)
            return self._users


def _summary(batch: pa.RecordBatch) -> pa.RecordBatch:
    clusters = batch.column("clusters").to_pylist()
    first = [
        [one["medoid_id"] for one in sorted(row, key=lambda one: -one["importance"])][:_MEDOIDS]
        for row in clusters
    ]
    arrays = [batch.column("user_id"), batch.column("num_actions"), map(len, clusters), first]
    return pa.RecordBatch.from_arrays(
        [
            pa.array(array, column.type) if not isinstance(array, pa.Array) else array
            for array, column in zip(arrays, _SUMMARY, strict=True)
        ],
        schema=_SUMMARY,
    )
