import tracemalloc

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist

from tfrs_sage.users import distances, medoids, ward, ward_many
from tfrs_sage.users.clustering import complete
from tfrs_sage.users.distances import squared_distances


def scipy_labels(vectors, threshold):
    """SciPy's clusters, renumbered by first appearance."""
    flat = fcluster(linkage(vectors, "ward"), np.sqrt(threshold), "distance")
    names = {}
    return np.array([names.setdefault(one, len(names)) for one in flat.tolist()])


def interests(num_actions, dim, seed, noise):
    random = np.random.default_rng(seed)
    centres = random.normal(size=(max(2, num_actions // 15), dim))
    return centres[random.integers(len(centres), size=num_actions)] + random.normal(
        scale=noise, size=(num_actions, dim)
    )


def chain_points(num_points):
    """Points whose gaps grow: only the first two are ever each other's nearest."""
    return np.cumsum(1.05 ** np.arange(num_points))[:, None]


def test_hand_worked_line():
    # 0 and 1 merge at 1, 4 and 6 at 4; then 2 * 2 * 2 / 4 * (5 - 0.5)^2 = 40.5.
    line = [[0.0], [4.0], [1.0], [6.0]]
    assert ward(line, 0.99).tolist() == [0, 1, 2, 3]
    assert ward(line, 1.0).tolist() == [0, 1, 0, 2]
    assert ward(line, 3.99).tolist() == [0, 1, 0, 2]
    assert ward(line, 4.0).tolist() == [0, 1, 0, 1]
    assert ward(line, 40.4).tolist() == [0, 1, 0, 1]
    assert ward(line, 40.5).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("num_actions", [2, 3, 10, 57, 200, 700])
@pytest.mark.parametrize("noise", [0.05, 1.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equals_scipy_at_every_cut(num_actions, noise, dtype):
    vectors = interests(num_actions, 24, seed=num_actions, noise=noise).astype(dtype)
    heights = np.sort(linkage(vectors.astype(np.float64), "ward")[:, 2]) ** 2
    # Between two merges, where the cut is not a matter of rounding.
    wide = np.flatnonzero(np.diff(heights) > 1e-3 * heights[1:])
    chosen = wide[:: max(1, len(wide) // 6)]
    cuts = [heights[0] / 2, *((heights[chosen] + heights[chosen + 1]) / 2), heights[-1] * 2]
    for cut in cuts:
        np.testing.assert_array_equal(ward(vectors, cut), scipy_labels(vectors, cut))


@pytest.mark.parametrize(
    "vectors",
    [
        pytest.param(chain_points(300), id="one mutual pair a round"),
        pytest.param(interests(120, 8, 1, 0.3) + 1e4, id="far from the origin"),
        pytest.param(interests(120, 8, 2, 0.3) * 1e-30, id="tiny"),
        pytest.param(interests(120, 8, 3, 0.3) * 1e30, id="huge"),
        pytest.param(
            np.concatenate([interests(60, 8, 4, 1e-3), interests(60, 8, 5, 1e-3) + 1e3]),
            id="tight and far apart",
        ),
        pytest.param(np.repeat(interests(40, 8, 6, 0.3), 3, axis=0), id="every action thrice"),
        pytest.param(np.exp(interests(150, 2, 7, 1.0) * 3), id="all scales"),
        pytest.param(np.eye(1, 60, 3) + 1e-3 * interests(80, 60, 8, 1.0), id="one direction"),
    ],
)
def test_equals_scipy_on_adversarial_inputs(vectors):
    heights = np.sort(linkage(vectors, "ward")[:, 2]) ** 2
    gaps = np.flatnonzero(np.diff(heights) > 1e-3 * heights[1:])
    for position in gaps[:: max(1, len(gaps) // 12)]:
        cut = (heights[position] + heights[position + 1]) / 2
        np.testing.assert_array_equal(ward(vectors, cut), scipy_labels(vectors, cut))


def with_copies(vectors, share, seed):
    """`vectors` with a share of the rows written over by copies of others."""
    random = np.random.default_rng(seed)
    copies = random.integers(len(vectors), size=int(share * len(vectors)))
    vectors = vectors.copy()
    vectors[random.permutation(len(vectors))[: len(copies)]] = vectors[copies]
    return vectors


@pytest.mark.parametrize("share", [0.05, 0.9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equals_scipy_with_items_acted_on_again(share, dtype):
    vectors = with_copies(interests(300, 32, 11, 0.5), share, 12).astype(dtype)
    heights = np.sort(linkage(vectors.astype(np.float64), "ward")[:, 2]) ** 2
    for position in np.flatnonzero(np.diff(heights) > 1e-3 * heights[1:])[::9]:
        cut = (heights[position] + heights[position + 1]) / 2
        np.testing.assert_array_equal(ward(vectors, cut), scipy_labels(vectors, cut))


def test_thousands_of_actions_equal_scipy():
    vectors = with_copies(interests(3000, 32, 13, 0.2), 0.1, 14).astype(np.float32)
    heights = np.sort(linkage(vectors.astype(np.float64), "ward")[:, 2]) ** 2
    position = 2700 + np.argmax(np.diff(heights[2700:2990]))
    cut = (heights[position] + heights[position + 1]) / 2
    np.testing.assert_array_equal(ward(vectors, cut), scipy_labels(vectors, cut))


@pytest.mark.parametrize("name, value", [("BLOCK_ROWS", 7), ("NEAR_PAIRS", -1)])
def test_blocks_and_care_change_nothing(monkeypatch, name, value):
    vectors = with_copies(interests(150, 16, 10, 0.7), 0.1, 0)
    expected = ward(vectors, 10.0)
    assert 1 < expected.max() < 100
    monkeypatch.setattr(distances, name, value)
    np.testing.assert_array_equal(ward(vectors, 10.0), expected)


def test_many_users_are_each_user():
    groups = [interests(size, 16, size, 0.5) for size in (30, 2, 57, 300)]
    groups += [np.zeros((0, 16)), groups[0][:1], groups[0] * 1e30, with_copies(groups[3], 0.5, 1)]
    for threshold in (0.0, 8.0, np.inf):
        for vectors, labels in zip(groups, ward_many(groups, threshold), strict=True):
            np.testing.assert_array_equal(labels, ward(vectors, threshold))
    assert ward_many([], 1.0) == []


@pytest.mark.parametrize("num_actions", [2, 60, 400])
def test_complete_linkage_equals_scipy(num_actions):
    vectors = interests(num_actions, 16, num_actions, 0.6).astype(np.float32)
    merges = linkage(vectors.astype(np.float64), "complete")
    heights = merges[:, 2] ** 2
    for position in range(0, len(heights) - 1, max(1, num_actions // 9)):
        cut = (heights[position] + heights[position + 1]) / 2
        flat = fcluster(merges, np.sqrt(cut), "distance")
        names = {}
        expected = [names.setdefault(one, len(names)) for one in flat.tolist()]
        assert complete(vectors, cut).tolist() == expected
    assert complete([[0.0], [1.0], [2.0]], 1.0).tolist()[0] == 0
    assert set(complete(vectors, np.inf)) == {0}


def test_number_of_actions_at_the_ends():
    assert ward(np.zeros((0, 4)), 1.0).tolist() == []
    assert ward([[1.0, 2.0]], 0.0).tolist() == [0]
    assert ward([[1.0, 2.0]], 0.0).dtype == np.int64


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threshold_zero_merges_equal_actions_only(dtype):
    distinct = np.random.default_rng(0).normal(size=(20, 256)).astype(dtype)
    order = np.random.default_rng(1).integers(20, size=300)
    names = {}
    expected = [names.setdefault(one, len(names)) for one in order.tolist()]
    assert ward(distinct[order], 0.0).tolist() == expected


def test_all_equal_actions_are_one_cluster_at_any_threshold():
    same = np.full((500, 256), 0.1, np.float32)
    assert set(ward(same, 0.0).tolist()) == {0}
    assert set(ward(same, 1.0).tolist()) == {0}
    assert ward([[0.0, 1.0], [-0.0, 1.0]], 0.0).tolist() == [0, 0]


def test_infinite_threshold_is_one_cluster():
    assert set(ward(interests(80, 8, 0, 1.0), np.inf).tolist()) == {0}


def test_planted_interests_are_found_whatever_their_order():
    random = np.random.default_rng(5)
    planted = random.integers(7, size=400)
    vectors = np.eye(7, 256)[planted] + random.normal(scale=0.01, size=(400, 256))
    names = {}
    expected = [names.setdefault(one, len(names)) for one in planted.tolist()]
    assert ward(vectors, 5.0).tolist() == expected


def test_not_finite_action_is_named():
    vectors = np.zeros((5, 3))
    vectors[3, 1] = np.nan
    with pytest.raises(ValueError, match=r"finite. Received: row 3 holds NaN .*1 such rows"):
        ward(vectors, 1.0)
    vectors[3, 1], vectors[2, 0] = np.inf, -np.inf
    with pytest.raises(ValueError, match=r"row 2 holds NaN or infinity \(2 such rows\)"):
        ward(vectors, 1.0)


def test_largest_numbers_are_finite_and_taken():
    largest = np.finfo(np.float64).max
    assert ward([[largest], [-largest], [largest]], 0.0).tolist() == [0, 1, 0]


@pytest.mark.parametrize("threshold", [-1.0, np.nan])
def test_threshold_must_be_a_squared_distance(threshold):
    with pytest.raises(ValueError, match=r"squared distance, 0 or more. Received"):
        ward([[0.0], [1.0]], threshold)


def test_vectors_must_be_a_matrix():
    with pytest.raises(ValueError, match=r"matrix \[m, d\]. Received: shape \(2,\)"):
        ward([0.0, 1.0], 1.0)


@pytest.mark.parametrize("noise", [1e-5, 1e-3, 1.0])
def test_distances_are_right_to_their_own_size(noise):
    # Two tight groups: the plain product loses all digits of the small distances.
    vectors = np.concatenate([interests(30, 64, 0, noise), 50 + interests(30, 64, 1, noise)])
    vectors[7] = vectors[31]
    found, scale = squared_distances(vectors)
    np.testing.assert_allclose(found * scale**2, pdist(vectors, "sqeuclidean"), rtol=5e-5)
    assert np.count_nonzero(found == 0) == np.count_nonzero(pdist(vectors) == 0)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.9])
def test_memory_is_within_two_matrices(share):
    vectors = with_copies(np.random.default_rng(0).normal(size=(2000, 16)), share, 1)
    vectors = vectors.astype(np.float32)
    ward(vectors[:10], np.inf)
    tracemalloc.start()
    medoids(vectors, ward(vectors, 20.0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * 4 * 2000**2
