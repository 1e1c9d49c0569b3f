import numpy as np
import pytest
from scipy.stats import ks_2samp

from tfrs_sage.evaluation.data_checks import (
    data_warnings,
    drift,
    duplicates_across,
    duplicates_within,
    leakage,
    normalised,
)


def test_leakage_by_hand():
    train = [("a", "1"), ("a", "2"), ("b", "1")]
    found = leakage(train, [("a", "2"), ("a", "3"), ("c", "1"), ("c", "1")])
    assert found == {
        "test_pairs": 3,
        "test_queries": 2,
        "shared_pairs": 1,
        "shared_queries": 1,
        "pair_share": 1 / 3,
        "query_share": 1 / 2,
    }


def test_duplicates_but_for_case_and_signs():
    assert normalised("  Sofa-Bed,\tＲＥＤ ") == normalised("sofa bed red") == "sofa bed red"
    found = duplicates_across(
        ["Sofa bed", "red chair", "…"], ["sofa-bed", "SOFA BED", "red chair", "new", "!"]
    )
    assert found["test_texts"] == 5 and found["share"] == 3 / 5
    assert found["examples"] == [("!", "…"), ("SOFA BED", "Sofa bed"), ("sofa-bed", "Sofa bed")]
    within = duplicates_within({"1": "Oak table", "2": "oak  table.", "3": "ash", "4": "", "5": ""})
    assert within["duplicates"] == 2 and within["examples"] == [["1", "2"]]


def test_drift_is_the_kolmogorov_smirnov_distance():
    random = np.random.default_rng(0)
    for shift in (0.0, 0.7):
        a = random.integers(9, size=150)
        b = random.integers(9, size=90) + shift
        assert drift(a, b)["distance"] == pytest.approx(ks_2samp(a, b).statistic)
    # Of one distribution, one pair of samples in twenty is farther apart than `chance`.
    found = [drift(*random.normal(size=(2, 100))) for _ in range(400)]
    assert np.mean([one["distance"] > one["chance"] for one in found]) < 0.09
    with pytest.raises(ValueError, match="Received: 0 and 1 numbers"):
        drift([], [1.0])


def test_warnings_say_the_numbers_and_only_what_is_wrong():
    assert data_warnings({"t": {"num_queries": 500, "interval": (0.4, 0.45)}}, {}) == []
    random = np.random.default_rng(1)
    bad = {
        "num_queries": 12,
        "interval": (0.2, 0.6),
        "leakage": leakage([("a", "1")], [("a", "1"), ("b", "1")]),
        "duplicates": duplicates_across(["Red sofa"], ["red sofa", "blue"]),
        "drift": {
            "length": drift(random.normal(size=500), random.normal(size=500) + 1.0),
            "popularity": drift(np.arange(500), np.arange(500)),
        },
    }
    told = data_warnings(
        {"t": bad}, {"product": duplicates_within({"1": "oak", "2": "Oak", "3": "ash"})}
    )
    assert len(told) == 6
    for sentence, number in zip(
        told, ("12 test", "0.200 to 0.600", "1 of 2", "50.0%", "length", "2 of 3"), strict=True
    ):
        assert number in sentence
