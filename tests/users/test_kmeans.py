from itertools import product

import numpy as np
import pytest

from tfrs_sage.users.kmeans import kmeans


def cost(vectors, labels):
    return sum(
        np.sum((vectors[labels == one] - vectors[labels == one].mean(axis=0)) ** 2)
        for one in set(labels.tolist())
    )


def test_planted_clusters_are_found():
    random = np.random.default_rng(0)
    planted = random.integers(5, size=300)
    vectors = 10 * np.eye(5, 32)[planted] + random.normal(size=(300, 32))
    names = {}
    expected = [names.setdefault(one, len(names)) for one in planted.tolist()]
    assert kmeans(vectors, 5).tolist() == expected


def test_best_start_of_some_is_the_best_of_all_splits():
    vectors = np.random.default_rng(1).normal(size=(9, 2))
    splits = (np.array(one) for one in product(range(2), repeat=9) if 0 < sum(one) < 9)
    least = min(cost(vectors, one) for one in splits)
    found = min(cost(vectors, kmeans(vectors, 2, seed)) for seed in range(20))
    assert found == pytest.approx(least)


def test_every_row_is_with_its_nearest_centroid():
    vectors = np.random.default_rng(2).normal(size=(200, 6))
    labels = kmeans(vectors, 7)
    means = np.array([vectors[labels == one].mean(axis=0) for one in range(7)])
    distances = ((vectors[:, None] - means) ** 2).sum(axis=2)
    np.testing.assert_array_equal(distances.argmin(axis=1), labels)


def test_fewer_distinct_rows_than_clusters():
    vectors = np.repeat(np.eye(3), 4, axis=0)
    assert kmeans(vectors, 5).tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert kmeans(np.ones((4, 2)), 5).tolist() == [0] * 4
    assert kmeans([[1.0]], 5).tolist() == [0]
    assert kmeans(np.zeros((0, 3)), 5).tolist() == []


def test_seed_decides():
    vectors = np.random.default_rng(3).normal(size=(100, 4))
    assert kmeans(vectors, 5, 1).tolist() == kmeans(vectors, 5, 1).tolist()


def test_bad_input():
    with pytest.raises(ValueError, match="1 entries not finite"):
        kmeans([[np.nan]], 2)
    with pytest.raises(ValueError, match=r"positive. Received: 0"):
        kmeans([[1.0]], 0)
