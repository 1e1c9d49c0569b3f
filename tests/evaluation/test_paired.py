import itertools

import numpy as np
import pytest

from tfrs_sage.evaluation import paired_test


def exact_p(differences):
    """The two-sided p value over all sign flips."""
    sums = [
        abs(np.dot(signs, differences))
        for signs in itertools.product((-1, 1), repeat=len(differences))
    ]
    return np.mean(np.array(sums) >= abs(sum(differences)) - 1e-12)


def test_p_value_is_that_of_all_flips():
    random = np.random.default_rng(0)
    a, b, weights = random.random(11), random.random(11) + 0.15, random.integers(1, 5, size=11)
    found = paired_test(a, b, weights, num_samples=20_000)
    assert found.p_value == pytest.approx(exact_p((b - a) * weights), abs=0.01)
    assert 0.01 < found.p_value < 0.9
    assert found.difference == pytest.approx(np.average(b - a, weights=weights))
    assert found.difference == pytest.approx(found.b - found.a)
    assert found.low < found.difference < found.high


def test_under_no_difference_p_is_uniform():
    random = np.random.default_rng(1)
    values = [
        paired_test(*random.normal(size=(2, 40)), num_samples=200, seed=seed).p_value
        for seed in range(300)
    ]
    assert np.mean(np.array(values) <= 0.05) == pytest.approx(0.05, abs=0.04)
    assert np.mean(values) == pytest.approx(0.5, abs=0.06)


def test_pairing_finds_what_two_intervals_do_not():
    # Queries differ a lot, the runs little but always the same way.
    hard = np.random.default_rng(2).random(200)
    found = paired_test(hard * 0.9, hard * 0.9 + 0.01)
    assert found.low == pytest.approx(0.01) and found.high == pytest.approx(0.01)
    assert found.p_value == pytest.approx(1 / 10_001)


def test_the_same_run_twice_and_the_other_way_round():
    values = np.random.default_rng(3).random(30)
    same = paired_test(values, values)
    assert (same.difference, same.low, same.high, same.p_value) == (0.0, 0.0, 0.0, 1.0)
    assert same.num_differing == 0 and same.num_queries == 30
    other = np.random.default_rng(4).random(30)
    there, back = paired_test(values, other), paired_test(other, values)
    assert there.difference == -back.difference and there.p_value == back.p_value
    assert there.low == pytest.approx(-back.high)


def test_bad_input():
    with pytest.raises(ValueError, match=r"same queries. Received: 2 and 1"):
        paired_test([1.0, 0.0], [1.0])
    with pytest.raises(ValueError, match=r"`num_samples` must be positive. Received: 0"):
        paired_test([1.0], [1.0], num_samples=0)
    with pytest.raises(ValueError, match="1 values not finite"):
        paired_test([1.0], [np.nan])
