"""A user's actions in, the user's clusters out: what the stores keep and the servers read."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from tfrs_sage.errors import InputError
from tfrs_sage.users.clustering import Labels, complete, ward_many
from tfrs_sage.users.config import ClusterConfig
from tfrs_sage.users.kmeans import kmeans
from tfrs_sage.users.medoid import medoids_many

SECONDS_PER_DAY = 86_400.0


@dataclass(frozen=True, init=False, eq=False)
class Actions:
    """What a user did, one row an action; an item acted on twice has two rows.

    Attributes:
        item_ids: ids of the items `[m]`.
        vectors: float32 `[m, d]`, embeddings of the items.
        times: float64 `[m]`, seconds since the epoch, UTC.
        weights: float32 `[m]`, above 0: how much each action counts.
    """

    item_ids: tuple[str, ...]
    vectors: npt.NDArray[np.float32]
    times: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float32]

    def __init__(
        self,
        item_ids: Sequence[str] | npt.NDArray[np.str_],
        vectors: npt.ArrayLike,
        times: npt.ArrayLike,
        weights: npt.ArrayLike | None = None,
    ) -> None:
        """Checks and keeps the columns; `weights` are 1 where none are given.

        Raises:
            ValueError: lengths differ, a time is not finite, a weight is not above 0.
        """
        ids = tuple(item_ids.tolist() if isinstance(item_ids, np.ndarray) else item_ids)
        rows = np.asarray(vectors, np.float32)
        when = np.asarray(times, np.float64)
        weight = np.ones(len(ids), np.float32) if weights is None else np.asarray(weights)
        shape = (len(ids),)
        if rows.ndim != 2 or when.shape != shape or weight.shape != shape or len(rows) != len(ids):
            raise ValueError(
                "Actions must have one vector, time and weight for each item. Received: "
                f"{len(ids)} ids, shapes {rows.shape}, {when.shape} and {weight.shape}."
            )
        if not np.isfinite(when).all():
            raise ValueError(f"Times must be finite. Received: {when[~np.isfinite(when)][0]}.")
        if not (np.isfinite(weight) & (weight > 0)).all():
            raise ValueError(
                "Weights must be finite and above 0: leave out actions that do not count. "
                f"Received: {weight[~(np.isfinite(weight) & (weight > 0))][0]}."
            )
        object.__setattr__(self, "item_ids", ids)
        object.__setattr__(self, "vectors", rows)
        object.__setattr__(self, "times", when)
        object.__setattr__(self, "weights", weight.astype(np.float32, copy=False))

    def __len__(self) -> int:
        return len(self.item_ids)

    def take(self, rows: npt.NDArray[np.intp]) -> "Actions":
        """The actions of these rows, in this order."""
        ids = [self.item_ids[row] for row in rows]
        return Actions(ids, self.vectors[rows], self.times[rows], self.weights[rows])

    def recent(self, now: float, window_days: float, max_actions: int) -> "Actions":
        """The newest `max_actions` of `now - window_days < time <= now`, oldest first.

        Actions of one time stand in order of their ids, so that the result, and with it every
        tie that clustering breaks by row, does not depend on the order of the input.
        """
        inside = (self.times <= now) & (self.times > now - window_days * SECONDS_PER_DAY)
        rows = np.flatnonzero(inside)
        ids = np.array([self.item_ids[row] for row in rows], np.str_)
        order = np.lexsort((ids, self.times[rows]))
        return self.take(rows[order[-max_actions:]])


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class Cluster:
    """One interest of a user.

    Attributes:
        medoid_id: the item that stands for it.
        size: number of actions in it.
        importance: `sum weight * exp(-decay * age)` over its actions, ages in days.
        first_time: of its earliest action, seconds since the epoch, UTC.
        last_time: of its latest action.
        member_ids: item of every action in it, oldest first; empty unless asked for.
    """

    medoid_id: str
    size: int
    importance: float
    first_time: float
    last_time: float
    member_ids: tuple[str, ...] = ()


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class UserClusters:
    """A user's interests at one moment.

    Attributes:
        user_id: whose.
        clusters: in descending importance; of equal ones the latest first.
        as_of: the moment that importances were computed for, seconds since the epoch, UTC.
        num_actions: actions that were clustered.
    """

    user_id: str
    clusters: tuple[Cluster, ...]
    as_of: float
    num_actions: int

    def to_json(self) -> str:
        """One line of JSON with the fields above, from which `from_json` reads the same again."""
        return _JSON.dump_json(self).decode()

    @staticmethod
    def from_json(text: str | bytes) -> "UserClusters":
        """Reads what `to_json` wrote.

        Raises:
            InputError: not JSON, or a field that is missing, unknown or of another type.
        """
        try:
            return _JSON.validate_json(text)
        except ValidationError as error:
            raise InputError(
                f"A user's clusters must be the JSON of UserClusters. Received: {text[:80]!r} "
                f"({error.errors()[0]['msg']}). Write them again with cluster-users."
            ) from error


_JSON = TypeAdapter(UserClusters)


def cluster_user(
    user_id: str,
    actions: Actions,
    config: ClusterConfig,
    now: float,
    keep_members: bool = False,
) -> UserClusters:
    """Clusters of the newest actions of a user, each with its medoid and importance.

    Args:
        user_id: whose actions.
        actions: in any order; those after `now`, or before the window of `config`, are left out,
            and of the rest the newest `config.max_actions` are taken.
        config: `method`, `threshold`, `decay`, `window_days`, `max_actions` and, for k-means,
            `num_clusters`.
        now: seconds since the epoch, UTC.
        keep_members: also keep the item of every action.

    Returns:
        The clusters; none where no action is left.

    Raises:
        InputError: a vector that is taken is not finite; names user and item.

    References:
        PinnerSage (Pal et al., KDD 2020), section 4. Differs from the paper: actions may weigh
        differently in the importance.
    """
    return cluster_users([(user_id, actions)], config, now, keep_members)[0]


def cluster_users(
    users: Sequence[tuple[str, Actions]],
    config: ClusterConfig,
    now: float,
    keep_members: bool = False,
) -> list[UserClusters]:
    """`cluster_user` of each of some users, in their order; faster than one by one.

    Args:
        users: id and actions of each; some hundred at once gain all there is to gain.
        config: as for `cluster_user`.
        now: seconds since the epoch, UTC.
        keep_members: also keep the item of every action.

    Raises:
        InputError: as `cluster_user`.
    """
    taken = [
        _finite(user_id, actions.recent(now, config.window_days, config.max_actions))
        for user_id, actions in users
    ]
    vectors = [actions.vectors for actions in taken]
    labels = cluster_labels(vectors, config)
    representatives = medoids_many(vectors, labels)
    return [
        UserClusters(
            user_id,
            _clusters(actions, label, medoid, config.decay, now, keep_members),
            now,
            len(actions),
        )
        for (user_id, _), actions, label, medoid in zip(
            users, taken, labels, representatives, strict=True
        )
    ]


def cluster_labels(
    groups: Sequence[npt.NDArray[np.float32]], config: ClusterConfig
) -> list[Labels]:
    """Cluster of each row of each user's vectors, by `config.method`."""
    if config.method == "ward":
        return ward_many(groups, config.threshold)
    if config.method == "complete":
        return [complete(vectors, config.threshold) for vectors in groups]
    return [kmeans(vectors, config.num_clusters) for vectors in groups]


def _finite(user_id: str, actions: Actions) -> Actions:
    """The actions, or an error that names user and item."""
    bad = np.flatnonzero(~np.isfinite(actions.vectors).all(axis=1))
    if bad.size:
        raise InputError(
            f"Embeddings of items must be finite. Received: NaN or infinity for item "
            f"{actions.item_ids[bad[0]]!r} of user {user_id!r}. Leave out these actions first."
        )
    return actions


def _clusters(
    actions: Actions,
    labels: Labels,
    representatives: npt.NDArray[np.int64],
    decay: float,
    now: float,
    keep_members: bool,
) -> tuple[Cluster, ...]:
    """What is kept of each label's actions, which stand oldest first; in order of importance."""
    importances = np.bincount(labels, weights=decayed_weights(actions, decay, now))
    order = np.argsort(labels, kind="stable")
    ends = np.cumsum(np.bincount(labels)).tolist()
    found = []
    for label, end in enumerate(ends):
        rows = order[ends[label - 1] if label else 0 : end]
        members = tuple(actions.item_ids[row] for row in rows) if keep_members else ()
        found.append(
            Cluster(
                medoid_id=actions.item_ids[representatives[label]],
                size=len(rows),
                importance=float(importances[label]),
                first_time=float(actions.times[rows[0]]),
                last_time=float(actions.times[rows[-1]]),
                member_ids=members,
            )
        )
    found.sort(key=lambda one: (-one.importance, -one.last_time, one.medoid_id))
    return tuple(found)


def decayed_weights(actions: Actions, decay: float, now: float) -> npt.NDArray[np.float64]:
    """What each action adds to its cluster's importance `[m]`: `weight * exp(-decay * age)`."""
    age_days = (now - actions.times) / SECONDS_PER_DAY
    return actions.weights.astype(np.float64) * np.exp(-decay * age_days)
