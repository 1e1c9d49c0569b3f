import tracemalloc

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage

from tfrs_sage.users import clustering, ward
from tfrs_sage.users.distances import centred, repair, squared_distances


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


@pytest.mark.parametrize("cut", [1.0, 10.0, 30.0, 1e9, np.inf])
def test_chain_and_rounds_give_the_same_clusters(monkeypatch, cut):
    vectors = interests(250, 16, seed=9, noise=0.7)
    mixed = ward(vectors, cut)
    monkeypatch.setattr(clustering, "ROUND_SHARE", 0)
    chain_only = ward(vectors, cut)
    monkeypatch.setattr(clustering, "ROUND_SHARE", len(vectors))
    rounds_only = ward(vectors, cut)
    np.testing.assert_array_equal(chain_only, mixed)
    np.testing.assert_array_equal(rounds_only, mixed)


def test_small_blocks_change_nothing(monkeypatch):
    vectors = interests(150, 16, seed=10, noise=0.7)
    expected = ward(vectors, 10.0)
    monkeypatch.setattr(clustering, "BLOCK_ELEMENTS", 300)
    np.testing.assert_array_equal(ward(vectors, 10.0), expected)


def test_lance_williams_is_the_distance_of_centroids():
    random = np.random.default_rng(3)
    parts = [random.normal(size=(size, 5)) for size in (4, 3, 6)]

    def between(left, right):
        harmonic = 2 * len(left) * len(right) / (len(left) + len(right))
        return harmonic * np.sum((left.mean(axis=0) - right.mean(axis=0)) ** 2)

    first, second, other = parts
    united = clustering._lance_williams(
        np.array([between(first, other)]),
        np.array([between(second, other)]),
        np.array([between(first, second)]),
        *(np.array([float(len(part))]) for part in parts),
    )
    expected = between(np.concatenate([first, second]), other)
    np.testing.assert_allclose(united, [expected], rtol=1e-12)


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


def test_distances_are_right_to_their_own_size():
    # Two tight groups: the plain product loses all digits of the small distances.
    vectors = np.concatenate([interests(30, 64, 0, 1e-5), 50 + interests(30, 64, 1, 1e-5)])
    points, scale = centred(vectors)
    matrix, has_near = squared_distances(points)
    assert has_near
    repair(matrix, points)
    for row in range(60):
        for column in range(row):
            expected = np.sum((vectors[row] - vectors[column]) ** 2)
            np.testing.assert_allclose(matrix[row, column] * scale**2, expected, rtol=5e-5)
    np.testing.assert_array_equal(matrix, matrix.T)


@pytest.mark.parametrize("dim", [2, 64])
def test_memory_is_two_matrices(dim):
    vectors = np.random.default_rng(0).normal(size=(800, dim)).astype(np.float32)
    ward(vectors[:10], np.inf)
    tracemalloc.start()
    ward(vectors, np.inf)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    blocks = 4 * 8 * clustering.BLOCK_ELEMENTS
    assert peak < 2 * 4 * 800**2 + blocks
