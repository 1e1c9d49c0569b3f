"""A batch of users' clusters as Parquet, and from there into the user store."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from beam_pipelines.vector_table import VectorTable
from tfrs_sage.artefacts import read_manifest
from tfrs_sage.errors import InputError
from tfrs_sage.users.clusters import Cluster, UserClusters
from tfrs_sage.users.config import ClusterConfig
from tfrs_sage.users.online import refresh
from tfrs_sage.users.store import USERS_AT_ONCE, UserStore

# One row a user, with the names and units of `UserClusters` and `Cluster`.
SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("as_of", pa.float64()),
        ("num_actions", pa.int64()),
        (
            "clusters",
            pa.list_(
                pa.struct(
                    [
                        ("medoid_id", pa.string()),
                        ("size", pa.int64()),
                        ("importance", pa.float64()),
                        ("first_time", pa.float64()),
                        ("last_time", pa.float64()),
                        ("member_ids", pa.list_(pa.string())),
                    ]
                )
            ),
        ),
    ]
)


def row_of(user: UserClusters) -> dict[str, Any]:
    """The row of a user."""
    return {**vars(user), "clusters": [vars(cluster) for cluster in user.clusters]}


def read_user_batch(folder: str | Path) -> Iterator[UserClusters]:
    """The users of `RUN/users/batch`, some hundreds in memory at a time.

    Args:
        folder: `part-*.parquet` with rows of `SCHEMA`, and a manifest.

    Raises:
        InputError: no manifest, or fewer users than it says.
    """
    folder, number = Path(folder), 0
    expected = read_manifest(folder)["counts"]["users"]
    for path in sorted(folder.glob("part-*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(USERS_AT_ONCE):
            number += len(batch)
            for row in batch.to_pylist():
                clusters = tuple(
                    Cluster(**{**one, "member_ids": tuple(one["member_ids"])})
                    for one in row["clusters"]
                )
                yield UserClusters(**{**row, "clusters": clusters})
    if number != expected:
        raise InputError(
            f"{folder} must hold the {expected} users of its manifest. Found: {number}. "
            "Run cluster-users again."
        )


def publish(folder: str | Path, store: UserStore, table: VectorTable, config: ClusterConfig) -> int:
    """Puts a batch into a store, user by user in one atomic change each.

    One process writes, after the whole batch is on disk: a job that fails has changed nothing, and
    doing it again does no harm. What users have done since the batch's `as_of` stays and is
    clustered anew.

    Args:
        folder: `RUN/users/batch`.
        store: to write to.
        table: embeddings, for the actions that the batch has not seen.
        config: how these are clustered.

    Returns:
        How many users the batch did not find and nothing is left of.

    Raises:
        InputError: the store holds a newer batch.
    """
    as_of: float = read_manifest(Path(folder))["as_of"]
    require_not_older(store, as_of)
    again = partial(refresh, vector_of=table.vector_of, config=config)
    store.write_batch(read_user_batch(folder), again)
    return store.finish_batch(as_of, again)


def require_not_older(store: UserStore, as_of: float) -> None:
    """Refuses to put a batch into a store that holds a newer one."""
    newest = store.batch_as_of()
    if newest is not None and newest > as_of:
        raise InputError(
            "A batch must not be older than the one that the store holds. Found: "
            f"{newest} in the store, {as_of} in the batch (seconds since the epoch). Name another "
            "store, or remove this one: it is filled anew."
        )
