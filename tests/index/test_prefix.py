"""A prefix of an embedding: the components and the length, worked by hand."""

import numpy as np
import pytest

from tfrs_sage.errors import InputError
from tfrs_sage.index import build_index, cut_to_prefix


def test_the_first_components_have_length_1_again() -> None:
    vectors = np.float32([[0.6, 0.0, 0.8], [0.48, 0.36, 0.8], [0, 0, 1]])
    expected = [[1, 0], [0.8, 0.6], [0, 0]]  # (0.48, 0.36) has length 0.6
    np.testing.assert_allclose(cut_to_prefix(vectors, 2), expected, atol=1e-7)
    assert cut_to_prefix(vectors, 2).dtype == np.float32
    assert vectors[1, 0] == np.float32(0.48)  # the given ones are left alone


def test_the_whole_width_is_the_vectors_themselves() -> None:
    vectors = np.random.default_rng(0).normal(size=(5, 4)).astype("f4")
    np.testing.assert_array_equal(cut_to_prefix(vectors, 4), vectors)
    np.testing.assert_array_equal(cut_to_prefix(vectors, None), vectors)


def test_what_lies_behind_the_prefix_does_not_matter() -> None:
    """Cutting after the towers is the same as towers that never had more components."""
    rng = np.random.default_rng(1)
    short = rng.normal(size=(50, 3)).astype("f4")
    short /= np.linalg.norm(short, axis=1, keepdims=True)
    long = np.concatenate([0.5 * short, 0.8660254 * np.eye(50, dtype="f4")], axis=1)
    ids = [f"p{i}" for i in range(50)]
    found, scores = build_index(cut_to_prefix(long, 3), ids).search(short[:9], 5)
    expected, expected_scores = build_index(short, ids).search(short[:9], 5)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(scores, expected_scores, atol=1e-6)


@pytest.mark.parametrize("prefix", [0, -1, 5])
def test_a_prefix_that_is_not_there_is_refused(prefix: int) -> None:
    with pytest.raises(InputError, match=rf"1 to 4, the width.*Received: {prefix}\."):
        cut_to_prefix(np.eye(4), prefix)
