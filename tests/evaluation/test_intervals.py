import numpy as np
import pytest

from tfrs_sage.evaluation import bootstrap_interval


def test_width_is_that_of_the_normal_approximation():
    values = np.random.default_rng(0).binomial(1, 0.3, size=2000).astype(float)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / np.sqrt(values.size)
    assert low == pytest.approx(values.mean() - half, abs=half / 5)
    assert high == pytest.approx(values.mean() + half, abs=half / 5)


def test_covers_the_truth_about_as_often_as_it_says():
    random, covered = np.random.default_rng(1), 0
    for seed in range(200):
        low, high = bootstrap_interval(random.normal(size=80), num_samples=200, seed=seed)
        covered += low <= 0.0 <= high
    assert 0.89 <= covered / 200 <= 0.99


def test_weights_pull_the_mean():
    # One query holds 98 of 100 pairs and finds none: without it the mean is 1, with it near 0.
    low, high = bootstrap_interval([0.0, 1.0, 1.0], [98.0, 1.0, 1.0])
    assert low == 0.0 and high == 1.0
    values, weights = np.array([0.0, 1.0] * 50), np.array([3.0, 1.0] * 50)
    low, high = bootstrap_interval(values, weights)
    assert low < 0.25 < high < 0.5


def test_seed_decides():
    values = np.random.default_rng(2).random(50)
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)
    assert bootstrap_interval([0.5] * 9) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"values": []}, "at least 1. Received"),
        ({"values": [1.0], "weights": [1.0, 2.0]}, "one length"),
        ({"values": [1.0], "weights": [0.0]}, "positive. Received: least weight 0.0"),
        ({"values": [np.nan]}, "1 values not finite"),
        ({"values": [1.0], "num_samples": 0}, "Received: 0 and 0.95"),
        ({"values": [1.0], "confidence": 1.0}, "between 0 and 1"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(**arguments)
