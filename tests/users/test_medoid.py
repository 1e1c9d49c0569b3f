import numpy as np
import pytest

from tfrs_sage.users import importance, medoids, medoids_many, ward


def test_hand_worked_medoids():
    # Cluster 0: rows 0, 2, 3 at 0, 1, 5: sums of squares 26, 17, 41. Cluster 1: row 1 alone.
    assert medoids([[0.0], [9.0], [1.0], [5.0]], [0, 1, 0, 0]).tolist() == [2, 1]


def test_equals_the_definition_over_all_pairs():
    random = np.random.default_rng(0)
    vectors, labels = random.normal(size=(300, 16)) + 1e5, random.integers(12, size=300)
    expected = []
    for label in range(12):
        rows = np.flatnonzero(labels == label)
        sums = [sum(np.sum((vectors[i] - vectors[j]) ** 2) for j in rows) for i in rows]
        expected.append(rows[int(np.argmin(sums))])
    assert medoids(vectors, labels).tolist() == expected


def test_earliest_row_wins_a_tie():
    random = np.random.default_rng(1)
    # Any cluster of two is a tie; rounding must not decide it.
    vectors = random.normal(size=(400, 256)).astype(np.float32)
    labels = np.tile(np.arange(200), 2)
    assert medoids(vectors, labels).tolist() == list(range(200))
    assert medoids(np.ones((4, 3)), [0, 0, 0, 0]).tolist() == [0]


def brute(vectors, labels):
    """The definition, over all pairs, in float64."""
    found = []
    for label in range(labels.max() + 1):
        rows = np.flatnonzero(labels == label)
        inside = vectors[rows].astype(np.float64)
        sums = [np.sum((inside - one) ** 2) for one in inside]
        found.append(rows[np.flatnonzero(sums <= min(sums) + 1e-12 * max(sums))[0]])
    return found


@pytest.mark.parametrize("noise", [1.0, 1e-4, 0.0])
def test_float32_that_cannot_tell_is_not_asked(noise):
    # Unit vectors in a cluster as wide as `noise`: at 1e-4 products in float32 are all rounding.
    random = np.random.default_rng(2)
    labels = random.integers(8, size=200)
    vectors = np.eye(8, 64)[labels] + noise * random.normal(size=(200, 64))
    vectors[11] = vectors[140]
    for given in (vectors, vectors.astype(np.float32), vectors * 1e25, vectors * 1e-25):
        assert medoids(given, labels).tolist() == brute(given, labels)


def test_many_users_are_each_user():
    random = np.random.default_rng(3)
    groups = [random.normal(size=(size, 8)) for size in (1, 40, 0, 150, 700, 3, 90, 2)]
    labels = [ward(vectors, 20.0) for vectors in groups]
    found = medoids_many(groups, labels)
    assert len(found) == len(groups)
    for vectors, label, rows in zip(groups, labels, found, strict=True):
        np.testing.assert_array_equal(rows, medoids(vectors, label))
    assert medoids_many([], []) == []


def test_medoids_of_nothing():
    assert medoids(np.zeros((0, 3)), []).tolist() == []


@pytest.mark.parametrize(
    ("vectors", "labels", "message"),
    [
        ([[0.0], [np.nan]], [0, 0], "finite. Received: row 1"),
        ([[0.0], [1.0]], [0], r"one for each of the 2 rows. Received: shape \(1,\)"),
        ([[0.0], [1.0]], [0.0, 1.0], "must be integers"),
        ([[0.0], [1.0]], [-1, 0], "0 or more. Received: -1"),
        ([[0.0], [1.0]], [0, 2], "no row of label 1"),
        ([0.0], [0], r"matrix \[m, d\]"),
    ],
)
def test_bad_medoid_input(vectors, labels, message):
    with pytest.raises(ValueError, match=message):
        medoids(vectors, labels)


def test_importance_is_the_sum_of_decayed_actions():
    # exp(-0.01 * 100) = 0.36787944 for the action of 100 days ago.
    result = importance([0, 1, 0], [0.0, 100.0, 100.0])
    np.testing.assert_allclose(result, [1.36787944, 0.36787944], rtol=1e-8)
    np.testing.assert_array_equal(importance([0, 1, 0], [0.0, 1e6, 3.0], decay=0.0), [2.0, 1.0])
    assert importance([], []).tolist() == []


@pytest.mark.parametrize(
    ("labels", "ages", "decay", "message"),
    [
        ([0, 0], [0.0, -1.0], 0.01, "0 or more. Received: -1.0 in row 1"),
        ([0, 0], [np.nan, 1.0], 0.01, "Received: nan in row 0"),
        ([0], [0.0], -0.1, "`decay` must be 0 or more"),
        ([0], [0.0, 1.0], 0.01, "one for each of the 2 rows"),
        ([0], 1.0, 0.01, r"vector \[m\]"),
    ],
)
def test_bad_importance_input(labels, ages, decay, message):
    with pytest.raises(ValueError, match=message):
        importance(labels, ages, decay)
