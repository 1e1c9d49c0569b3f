import numpy as np
import pytest

from tfrs_sage.evaluation.cooccurrence import Cooccurrence


def test_is_the_cosine_of_the_columns():
    random = np.random.default_rng(0)
    basket, item = random.integers(12, size=60), random.integers(9, size=60)
    item[item == 4] = 5  # item 4 is in no basket
    matrix = np.zeros((12, 9))
    matrix[basket, item] = 1.0
    norms = np.maximum(np.linalg.norm(matrix, axis=0), 1e-9)
    cosines = (matrix.T @ matrix) / np.outer(norms, norms)
    # Basket numbers need not be without gaps.
    model = Cooccurrence(basket * 7, item, 9)
    np.testing.assert_array_equal(model.count, matrix.sum(axis=0))
    for profile in ([3], [0, 5, 8], [4], []):
        np.testing.assert_allclose(model.scores(profile), cosines[profile].sum(axis=0), atol=1e-12)
    np.testing.assert_allclose(model.scores([2, 2]), cosines[2])


def test_no_baskets():
    assert Cooccurrence([], [], 3).scores([1]).tolist() == [0.0, 0.0, 0.0]


def test_bad_input():
    with pytest.raises(ValueError, match=r"rows 0 to 1. Received: 0 to 2"):
        Cooccurrence([0, 0], [0, 2], 2)
    with pytest.raises(ValueError, match="one length"):
        Cooccurrence([0], [0, 1], 2)
