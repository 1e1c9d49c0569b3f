"""PinnerSage and what it is compared with: each turns a user's past into queries."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from tfrs_sage.users.clustering import Labels
from tfrs_sage.users.clusters import Actions, cluster_labels, decayed_weights
from tfrs_sage.users.config import ClusterConfig
from tfrs_sage.users.medoid import medoids
from tfrs_sage.users.sampling import sample_medoids

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Queries:
    """What to retrieve with for a user.

    Attributes:
        vectors: float32 `[q, d]`.
        weights: float64 `[q]`, above 0: share of the retrieved items that each may bring.
        num_clusters: clusters that these were chosen from; 1 for a method without clusters.
    """

    vectors: Vectors
    weights: npt.NDArray[np.float64]
    num_clusters: int


@dataclass(eq=False)
class Past:
    """What is known of a user at one moment; clusterings are kept for the methods that share them.

    Attributes:
        actions: at least one, oldest first, none after `now`.
        now: seconds since the epoch, UTC.
        future: float32 `[f, d]`, vectors of what the user does later: for oracles only.
        seed: of every draw for this user.
    """

    actions: Actions
    now: float
    future: Vectors
    seed: tuple[int, ...] = (0,)
    _labels: dict[tuple[str, float, int], Labels] = field(default_factory=dict)

    def labels(self, config: ClusterConfig) -> Labels:
        """Cluster of each action `[m]`."""
        key = (config.method, config.threshold, config.num_clusters)
        if key not in self._labels:
            self._labels[key] = cluster_labels([self.actions.vectors], config)[0]
        return self._labels[key]

    def importances(self, config: ClusterConfig) -> npt.NDArray[np.float64]:
        """Importance of each cluster `[c]`."""
        weights = decayed_weights(self.actions, config.decay, self.now)
        return np.bincount(self.labels(config), weights=weights).astype(np.float64, copy=False)


UserMethod = Callable[[Past], Queries]


def last_item(past: Past) -> Queries:
    """The newest action alone."""
    return Queries(past.actions.vectors[-1:], np.ones(1), 1)


def decayed_average(past: Past, config: ClusterConfig) -> Queries:
    """One vector: the mean of all actions, each by its decayed weight."""
    # Seen from the newest action, which changes nothing but that the weights cannot all vanish.
    weights = decayed_weights(past.actions, config.decay, float(past.actions.times[-1]))
    mean = weights @ past.actions.vectors / weights.sum()
    return Queries(mean[None].astype(np.float32), np.ones(1), 1)


def sampled(past: Past, config: ClusterConfig, centroids: bool = False) -> Queries:
    """PinnerSage: medoids (or centroids) of clusters drawn in proportion to importance."""
    found = _representatives(past, config, centroids)
    chosen = sample_medoids(past.importances(config), config.num_samples, _random(past))
    return Queries(found[chosen], np.ones(len(chosen)), len(found))


def all_clusters(past: Past, config: ClusterConfig) -> Queries:
    """Every medoid, weighted by importance: sampling with its luck taken out."""
    found, weights = _representatives(past, config), past.importances(config)
    return Queries(found[weights > 0], weights[weights > 0], len(found))


def oracle(past: Past, config: ClusterConfig) -> Queries:
    """As many medoids as `sampled` draws, those that are nearest to most of the *future* actions.

    Nothing that may look ahead only at the choice of clusters does much better: what it is above
    `sampled` is what a better choice could gain, what it lacks is for the clusters themselves.
    Medoids nearest to no future action follow by importance.
    """
    found = _representatives(past, config)
    votes = (unit(past.future) @ unit(found).T).argmax(axis=1)
    count = np.bincount(votes, minlength=len(found))
    order = np.lexsort((-past.importances(config), -count))[: config.num_samples]
    return Queries(found[order], np.ones(len(order)), len(found))


def methods(config: ClusterConfig) -> Mapping[str, UserMethod]:
    """Every method of the comparison by name; `pinnersage` is `config` as it stands, by Ward.

    The rows are those of PinnerSage (Pal et al., KDD 2020), tables 2 to 5. Each one changes one
    thing: the clustering, what stands for a cluster, the decay (`decay_0`, `decay_0.01`,
    `decay_0.1`), how many are drawn (`sample_1`, `sample_3`), or all of it. The decay and the
    number that `config` has are `pinnersage` itself, and have no row of their own.
    """
    ward = config.model_copy(update={"method": "ward"})

    def changed(**values: object) -> UserMethod:
        return partial(sampled, config=ward.model_copy(update=values))

    decays = [decay for decay in (0.0, 0.01, 0.1) if decay != config.decay]
    samples = [number for number in (1, 3) if number != config.num_samples]
    return {
        "last_item": last_item,
        "decayed_average": partial(decayed_average, config=ward),
        "kmeans": changed(method="kmeans"),
        "complete_linkage": changed(method="complete"),
        "centroid": partial(sampled, config=ward, centroids=True),
        **{f"decay_{decay:g}": changed(decay=decay) for decay in decays},
        **{f"sample_{number}": changed(num_samples=number) for number in samples},
        "pinnersage": changed(),
        "all_clusters": partial(all_clusters, config=ward),
        "oracle": partial(oracle, config=ward),
    }


def unit(vectors: npt.NDArray[np.floating]) -> Vectors:
    """The rows divided by their norms, float32; zero rows stay zero."""
    norms = np.linalg.norm(vectors.astype(np.float64), axis=-1, keepdims=True)
    return (vectors / np.where(norms > 0, norms, 1.0)).astype(np.float32)


def _representatives(past: Past, config: ClusterConfig, centroids: bool = False) -> Vectors:
    """Medoid or mean of each cluster `[c, d]`."""
    labels = past.labels(config)
    vectors = past.actions.vectors
    if not centroids:
        return vectors[medoids(vectors, labels)]
    members = np.arange(labels.max() + 1)[:, None] == labels
    return (members @ vectors / members.sum(axis=1, keepdims=True)).astype(np.float32)


def _random(past: Past) -> np.random.Generator:
    """The same draws for every method, so that methods differ by more than luck."""
    return np.random.default_rng(past.seed)
