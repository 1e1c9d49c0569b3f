"""Items around four axes, and a user who likes two of them."""

import numpy as np

from tests.users.stores import DAY
from tfrs_sage.index import build_index
from tfrs_sage.index.base import Index
from tfrs_sage.users.candidates import Candidates
from tfrs_sage.users.clusters import Actions, cluster_user
from tfrs_sage.users.config import ClusterConfig
from tfrs_sage.users.store import StoredUser

AXES, PER_AXIS, WIDTH = 4, 40, 16
NOW = 100 * DAY
CONFIG = ClusterConfig(threshold=1.2, num_samples=2, num_candidates=33)
DEPTH = 64  # of the lists that are fetched with it: an axis' 40 items are all in them
# Two thirds of the importance lie on axis 0.
LIKED = ("0.0", "0.1", "0.2", "0.3", "1.0", "1.1")


def item_vectors() -> dict[str, np.ndarray]:
    """`<axis>.<number>`: cosines of 0.75 to 0.98 within an axis, at most 0.35 across."""
    rng = np.random.default_rng(7)
    vectors = {}
    for axis in range(AXES):
        for number in range(PER_AXIS):
            vector = rng.normal(scale=0.1, size=WIDTH)
            vector[axis] += 1.0
            vectors[f"{axis}.{number}"] = (vector / np.linalg.norm(vector)).astype(np.float32)
    return vectors


VECTORS = item_vectors()


def catalogue(extra: dict[str, np.ndarray] | None = None) -> Index:
    """The exact index over the items, and over some more."""
    found = {**VECTORS, **(extra or {})}
    return build_index(np.stack(list(found.values())), list(found))


def candidates(extra: dict[str, np.ndarray] | None = None, version: str = "v1") -> Candidates:
    return Candidates(catalogue(extra), version)


def planted_user(
    user_id: str = "u", items: tuple[str, ...] = LIKED, config: ClusterConfig = CONFIG
) -> StoredUser:
    """The user after a batch."""
    actions = Actions(items, np.stack([VECTORS[item] for item in items]), [NOW] * len(items))
    return StoredUser(user_id, cluster_user(user_id, actions, config, NOW, keep_members=True))


def axis_of(item_id: str | None) -> str:
    return str(item_id).split(".")[0]
