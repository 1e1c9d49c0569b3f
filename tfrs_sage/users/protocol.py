"""The offline protocol of PinnerSage: the past in, the next actions as the answer."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tfrs_sage.evaluation.intervals import bootstrap_interval
from tfrs_sage.evaluation.lists import similar_shares
from tfrs_sage.users.alternatives import Past, Queries, UserMethod, Vectors, unit
from tfrs_sage.users.clusters import SECONDS_PER_DAY, Actions
from tfrs_sage.users.config import ClusterConfig
from tfrs_sage.users.retrieval import Catalogue, Rows, retrieve

METRICS = ("relevance", "recall", "r_precision", "reciprocal_rank")
SIMILAR = 0.8
RANDOM_ITEMS = 1000
# Users whose pasts are held at once.
BLOCK_USERS = 64


@dataclass(frozen=True, eq=False)
class UserSplit:
    """A user's actions before and after a moment.

    Attributes:
        user_id: whose.
        past: actions to cluster, oldest first.
        future: the actions to foresee.
        now: the moment, seconds since the epoch, UTC.
    """

    user_id: str
    past: Actions
    future: Actions
    now: float


def split_user(
    user_id: str, actions: Actions, now: float, config: ClusterConfig, future_days: float = 14.0
) -> UserSplit | None:
    """The actions of the window before `now`, and those of the days after it.

    Returns:
        `None` where either side is empty: such a user tells nothing.
    """
    later = actions.recent(now + future_days * SECONDS_PER_DAY, future_days, len(actions) or 1)
    past = actions.recent(now, config.window_days, config.max_actions)
    return UserSplit(user_id, past, later, now) if len(past) and len(later) else None


def evaluate_methods(
    users: Iterable[UserSplit],
    catalogue: Catalogue,
    methods: Mapping[str, UserMethod],
    num_items: int = 400,
    similar: float = SIMILAR,
    num_random: int = RANDOM_ITEMS,
    seed: int = 0,
) -> dict[str, dict[str, npt.NDArray[np.float64]]]:
    """Every metric of every method for every user.

    - `relevance`: share of the retrieved items with cosine of at least `similar` to a future
      action; 0 where nothing is left to retrieve;
    - `recall`: share of the future actions with cosine of at least `similar` to a retrieved item;
    - `r_precision`: of the R different future items among `num_random` random ones, ranked by
      their largest cosine to the queries, the share within the first R;
    - `reciprocal_rank`: mean of 1 / rank over these R items;
    - `num_clusters`: clusters that the queries were chosen from.

    Items of the past are not retrieved; a future action on one counts all the same, as similar
    items can be found. Random items are none of the user's own, the same for every method; of
    equal cosines the random one ranks first. A block of users is held at a time.

    Args:
        users: each with past and future; read once.
        catalogue: what is retrieved from and where random items come from.
        methods: name -> method, as `alternatives.methods` gives them.
        num_items: retrieved for each user.
        similar: least cosine that counts as the same interest.
        num_random: random items; fewer where the catalogue has fewer.
        seed: of the draws of medoids and of random items, with the user's place in `users`.

    Returns:
        Method -> metric -> float64 `[u]`, users in their order, so that bootstrap intervals can be
        put on each and on differences.

    References:
        PinnerSage (Pal et al., KDD 2020), section 6; `docs/users.md` on what is chosen here.
    """
    columns: dict[str, dict[str, list[npt.NDArray[np.float64]]]] = {
        name: {metric: [] for metric in (*METRICS, "num_clusters")} for name in methods
    }
    first = 0
    for block in _blocks(users):
        own = [catalogue.rows_of(user.past.item_ids) for user in block]
        pasts = [
            Past(user.past, user.now, user.future.vectors, (seed, first + place))
            for place, user in enumerate(block)
        ]
        ranking = [
            _ranking_items(user, past, catalogue, num_random)
            for user, past in zip(block, pasts, strict=True)
        ]
        for name, method in methods.items():
            queries = [method(past) for past in pasts]
            shown = retrieve(catalogue, queries, own, num_items)
            scores = [
                (
                    *similar_shares(catalogue.vectors[rows], unit(user.future.vectors), similar),
                    *ranking_scores(query, *items),
                    query.num_clusters,
                )
                for user, query, rows, items in zip(block, queries, shown, ranking, strict=True)
            ]
            for metric, column in zip(columns[name], np.array(scores, float).T, strict=True):
                columns[name][metric].append(column)
        first += len(block)
    return {
        name: {metric: np.concatenate(parts or [np.zeros(0)]) for metric, parts in found.items()}
        for name, found in columns.items()
    }


def ranking_scores(queries: Queries, random: Vectors, future: Vectors) -> tuple[float, float]:
    """R-precision and mean reciprocal rank of the items `future` among the items `random`.

    Args:
        queries: of the user.
        random: unit vectors `[n, d]`.
        future: unit vectors `[R, d]` of different items.
    """
    if not len(queries.vectors):
        return 0.0, 0.0
    # Random items stand first, so that a stable sort ranks them before what is equal to them.
    items = np.concatenate([random, future])
    best = (items @ unit(queries.vectors).T).max(axis=1)
    order = np.argsort(-best, kind="stable")
    ranks = np.flatnonzero(order >= len(random)) + 1
    return float((ranks <= len(future)).mean()), float((1.0 / ranks).mean())


def summary(
    scores: Mapping[str, npt.NDArray[np.float64]], num_samples: int = 1000, seed: int = 0
) -> dict[str, tuple[float, float, float]]:
    """Mean over users and 95% bootstrap interval of each metric: metric -> (mean, low, high)."""
    return {
        metric: (
            float(values.mean()),
            *bootstrap_interval(values, num_samples=num_samples, seed=seed),
        )
        for metric, values in scores.items()
    }


def _ranking_items(
    user: UserSplit, past: Past, catalogue: Catalogue, num_random: int
) -> tuple[Vectors, Vectors]:
    """Random items that are none of the user's, and each different item of the future, as units."""
    _, different = np.unique(np.array(user.future.item_ids, np.str_), return_index=True)
    taken: Rows = catalogue.rows_of([*user.past.item_ids, *user.future.item_ids])
    random = np.random.default_rng((*past.seed, 1))
    count = min(num_random, len(catalogue.vectors) - len(taken))
    # Enough are drawn that those of the user can be left out.
    drawn = random.choice(len(catalogue.vectors), count + len(taken), replace=False)
    rows = drawn[~np.isin(drawn, taken)][:count]
    return catalogue.vectors[rows], unit(user.future.vectors[np.sort(different)])


def _blocks(users: Iterable[UserSplit]) -> Iterator[list[UserSplit]]:
    """Lists of at most `BLOCK_USERS`."""
    iterator = iter(users)
    while block := list(itertools.islice(iterator, BLOCK_USERS)):
        yield block
