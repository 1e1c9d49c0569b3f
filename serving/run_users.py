"""A run folder's users, ready to be served: its index, its store, what is popular."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from beam_pipelines.vector_table import VectorTable, vector_table
from serving.users import UserService
from tfrs_sage.artefacts import MANIFEST, fingerprint, read_manifest
from tfrs_sage.errors import InputError
from tfrs_sage.index.base import VECTORS_FILE
from tfrs_sage.index.build import load_index
from tfrs_sage.users.candidates import Candidates
from tfrs_sage.users.config import ClusterConfig
from tfrs_sage.users.recommend import Popular, Recommender
from tfrs_sage.users.store import open_store

_USERS_AT_ONCE = 16_384


def has_users(run_dir: str | Path) -> bool:
    """Whether `cluster-users` has been run, and the index is there to retrieve from."""
    users = Path(run_dir) / "users" / "batch" / MANIFEST
    return users.is_file() and (Path(run_dir) / "index" / "product" / MANIFEST).is_file()


def open_recommender(
    run_dir: str | Path, config: ClusterConfig, store: str | None = None
) -> Recommender:
    """What recommends to a run's users.

    Args:
        run_dir: run folder with `users/batch` and `index/product`.
        config: settings of the run.
        store: as `open_store` takes it. Default: `RUN/users/store.sqlite`.

    Raises:
        InputError: the run has no users or no index, or there is no store.
    """
    run = Path(run_dir)
    if not has_users(run):
        raise InputError(
            f"Users are served from RUN/users/batch and RUN/index/product. Found: not both in "
            f"{run}. Make them with `tfrs-sage cluster-users` and `tfrs-sage index`."
        )
    path = run / "users" / "store.sqlite"
    if store is None and not path.is_file():
        raise InputError(
            f"The run's user store must be at {path}. Found: none. Run `tfrs-sage cluster-users` "
            "again, or name the store with --store."
        )
    folder = run / "index" / "product"
    candidates = Candidates(load_index(folder), index_version(folder))
    popular = popular_items(run / "users" / "batch", candidates, 2 * config.num_candidates)
    return Recommender(open_store(store or f"sqlite:///{path}"), candidates, config, popular)


def open_users(run_dir: str | Path, config: ClusterConfig, store: str | None = None) -> UserService:
    """The service for a run's users, with the item embeddings that its batch clusters.

    Raises:
        InputError: as `open_recommender`.
    """
    recommender = open_recommender(run_dir, config, store)
    return UserService(recommender, VectorTable(vector_table(run_dir)).vector_of)


def index_version(folder: Path) -> str:
    """Tells one index from every other: 16 hex digits of its manifest and its vectors' file."""
    about = (folder / VECTORS_FILE).stat()
    return fingerprint([read_manifest(folder), about.st_size, about.st_mtime_ns])


def popular_items(folder: Path, candidates: Candidates, num_items: int) -> Popular:
    """The items that the most users of a batch acted on, with how many; equal ones by id.

    Args:
        folder: `RUN/users/batch`. An item counts once for a user, whatever else the user did.
        candidates: other items do not count.
        num_items: items at most.
    """
    ids = pa.array([str(one) for one in candidates.index.ids], pa.string())
    count = np.zeros(len(ids), np.int64)
    for path in sorted(folder.glob("part-*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(_USERS_AT_ONCE, columns=["clusters"]):
            clusters = batch.column("clusters")
            members = pc.struct_field(pc.list_flatten(clusters), "member_ids")
            owner = pc.list_parent_indices(clusters).take(pc.list_parent_indices(members))
            row = pc.index_in(pc.list_flatten(members), value_set=ids)
            known = row.is_valid()
            pairs = owner.filter(known).to_numpy() * len(ids) + row.filter(known).to_numpy()
            count += np.bincount(np.unique(pairs) % len(ids), minlength=len(ids))
    order = sorted(np.flatnonzero(count).tolist(), key=lambda row: (-count[row], ids[row].as_py()))
    return [(ids[row].as_py(), int(count[row])) for row in order[:num_items]]
