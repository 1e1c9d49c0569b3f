"""What a user is shown, and why: a few medoids ask the index, each item names the one it is from.

What is served is what the offline protocol measures (`retrieval.retrieve`): the same draw, the
same items left out before items are ranked, the same turns. Here the lists come from any index,
through a cache that all users share.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from tfrs_sage.errors import InputError
from tfrs_sage.users.candidates import NO_ROW, Candidates, Screen
from tfrs_sage.users.clusters import Cluster
from tfrs_sage.users.config import ClusterConfig
from tfrs_sage.users.medoid_cache import CacheKey, MedoidCache, RankedRows
from tfrs_sage.users.sampling import sample_medoids
from tfrs_sage.users.store import StoredUser, UserStore

# Items with how many users acted on each, the most popular first.
Popular = Sequence[tuple[str, int]]


@dataclass(frozen=True)
class RecommendedItem:
    """One item that a user is shown.

    Attributes:
        item_id: which.
        score: its dot product with the medoid; of a popular one, how many users acted on it.
        medoid_id: the item of the user's that it is shown for; None for a popular one.
    """

    item_id: str
    score: float
    medoid_id: str | None


@dataclass(frozen=True)
class Recommendation:
    """An answer, with what explains it.

    Attributes:
        user_id: for whom.
        source: `medoids`, or `popular` for a user without a cluster to retrieve with.
        items: best first.
        medoids: the clusters that were drawn, in the order of the draw; none for `popular`.
        num_acted_on: items met on the way to these that the user has acted on, and is not shown.
        num_near_duplicates: items met on the way that are near-duplicates of what the user acted
            on, likewise.
    """

    user_id: str
    source: Literal["medoids", "popular"]
    items: tuple[RecommendedItem, ...]
    medoids: tuple[Cluster, ...]
    num_acted_on: int
    num_near_duplicates: int


@dataclass
class Recommender:
    """Recommends items to users; safe for many threads.

    Attributes:
        store: the users.
        candidates: what is retrieved from. May be replaced while others ask.
        config: `num_samples`, `num_candidates` and `duplicate_cosine`.
        popular: what users without clusters get: more than `num_candidates`, because what such
            a user has acted on is left out.
        cache: of medoids' lists.
    """

    store: UserStore
    candidates: Candidates
    config: ClusterConfig
    popular: Popular
    cache: MedoidCache = field(default_factory=MedoidCache)

    def recommend(
        self, user_id: str, k: int | None = None, seed: int | None = None
    ) -> Recommendation:
        """Items for a user.

        Args:
            user_id: anyone; who is not in the store gets what is popular.
            k: most items to return, at most `config.num_candidates`, which is the default.
            seed: of the draw of medoids. None draws anew each time, so that over time every
                interest has its turn.

        Raises:
            InputError: `k` out of range, or a negative seed.
        """
        return self.recommend_to(self.store.get(user_id) or StoredUser(user_id), k, seed)

    def recommend_to(
        self, user: StoredUser, k: int | None = None, seed: int | None = None
    ) -> Recommendation:
        """As `recommend`, for a user as given."""
        k = checked_k(k, self.config)
        if seed is not None and seed < 0:
            raise InputError(f"A seed is 0 or more. Received: {seed}. Leave it out to draw anew.")
        candidates = self.candidates
        clusters = [one for one in user.clusters if one.medoid_id in candidates]
        weights = [one.importance for one in clusters]
        drawn = [clusters[i] for i in sample_medoids(weights, self.config.num_samples, seed)]
        screen = Screen(candidates, user, self.config.duplicate_cosine)
        if not drawn:
            items = self._popular(screen, k)
            return _answer(user, "popular", items, (), screen)
        items = self._nearest([one.medoid_id for one in drawn], screen, k)
        return _answer(user, "medoids", items, tuple(drawn), screen)

    def _popular(self, screen: Screen, k: int) -> list[RecommendedItem]:
        """The most popular items that the screen leaves."""
        rows = screen.candidates.rows_of(item for item, _ in self.popular)
        known = np.flatnonzero(rows != NO_ROW)
        chosen = known[screen.first(rows[known], k)]
        shown = [self.popular[place] for place in chosen.tolist()]
        return [RecommendedItem(item, float(count), None) for item, count in shown]

    def _nearest(self, medoid_ids: list[str], screen: Screen, k: int) -> list[RecommendedItem]:
        """The items nearest to the medoids that the screen leaves, taking turns.

        An item's place is the least of its ranks, and of equal ranks the medoid drawn first is
        the one it is from: `retrieval.retrieve` with equal weights.
        """
        num_items, number = len(screen.candidates), len(medoid_ids)
        # Every user asks for the same depth, so that all share the lists; only one whose list is
        # used up by what is left out asks for more.
        depth = _power_of_two(self.config.num_candidates)
        lists = self._lists(screen.candidates, medoid_ids, depth)
        turns = -(-k // number)  # enough where no item is in two lists
        while True:
            places = [screen.first(one.rows, turns) for one in lists]
            if min(map(len, places)) < turns and depth < num_items:
                depth *= 2
                lists = self._lists(screen.candidates, medoid_ids, depth)
                continue
            ranked = np.full((turns, number), NO_ROW, np.int64)
            for column, (one, place) in enumerate(zip(lists, places, strict=True)):
                ranked[: len(place), column] = one.rows[place]
            rows, first = np.unique(ranked, return_index=True)
            first = np.sort(first[rows != NO_ROW])[:k]
            if len(first) == k or turns >= k:
                break
            turns = min(2 * turns, k)
        items = []
        for turn, column in zip(*(part.tolist() for part in divmod(first, number)), strict=True):
            item = screen.candidates.id_of(ranked[turn, column])
            score = float(lists[column].scores[places[column][turn]])
            items.append(RecommendedItem(item, score, medoid_ids[column]))
        return items

    def _lists(self, candidates: Candidates, medoid_ids: list[str], depth: int) -> list[RankedRows]:
        """The `depth` items nearest to each medoid, from the cache where it has them."""
        keys = [CacheKey(candidates.version, medoid, depth) for medoid in medoid_ids]
        found = self.cache.get_many(keys)
        for key in keys:
            if key in found:
                continue
            # One by one: several at once differ in the last bit from one alone, and what a list
            # holds would depend on who asked for it first.
            row = candidates.rows_of([key.medoid_id])
            (ids,), (scores,) = candidates.index.search(candidates.index.vectors[row], depth)
            rows = candidates.rows_of(ids).astype(np.int32)
            found[key] = RankedRows(rows, np.array(scores, np.float32))
            self.cache.put(key, found[key])
        return [found[key] for key in keys]


def checked_k(k: int | None, config: ClusterConfig) -> int:
    """How many items to return.

    Raises:
        InputError: less than 1, or more than `config.num_candidates`.
    """
    if k is None:
        return config.num_candidates
    if not 1 <= k <= config.num_candidates:
        raise InputError(
            f"`k` must be 1 to {config.num_candidates} (users.num_candidates). Received: {k}. "
            "Ask for fewer items."
        )
    return k


def _answer(
    user: StoredUser,
    source: Literal["medoids", "popular"],
    items: list[RecommendedItem],
    medoids: tuple[Cluster, ...],
    screen: Screen,
) -> Recommendation:
    counts = (screen.num_acted_on, screen.num_near_duplicates)
    return Recommendation(user.user_id, source, tuple(items), medoids, *counts)


def _power_of_two(number: int) -> int:
    """The least power of two that is not below a number."""
    return 1 << (number - 1).bit_length()
