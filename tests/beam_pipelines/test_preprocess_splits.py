"""Splits by time and by hash; the bounded combiners do not depend on how the rows were dealt."""

import random
from collections.abc import Iterable
from typing import Any

import pytest

from beam_pipelines.records import KeepLeast, seeded_key
from beam_pipelines.splits import TimeHistogram, split_of_query, split_of_time, time_bounds
from tfrs_sage.schema.config import PreprocessConfig


def combine(combiner: Any, parts: Iterable[Iterable[Any]]) -> Any:
    """What a runner does: one accumulator a part, merged."""
    accumulators = []
    for part in parts:
        accumulator = combiner.create_accumulator()
        for element in part:
            accumulator = combiner.add_input(accumulator, element)
        accumulators.append(combiner.compact(accumulator))
    return combiner.extract_output(combiner.merge_accumulators(accumulators))


def dealt(values: Iterable[Any], num_parts: int, seed: int) -> list[list[Any]]:
    shuffled = list(values)
    random.Random(seed).shuffle(shuffled)
    return [shuffled[part::num_parts] for part in range(num_parts)]


@pytest.mark.parametrize("seed", range(5))
def test_histogram_is_bounded_and_independent_of_the_parts(seed: int) -> None:
    times = [random.Random(7).randrange(-(10**9), 10**15) for _ in range(500)]
    combiner = TimeHistogram(max_buckets=40)
    shift, counts = combine(combiner, dealt(times, 1 + seed, seed))
    assert (shift, counts) == combine(combiner, [times])
    assert len(counts) <= 40
    assert sum(counts.values()) == 500
    assert counts == {b: sum(t >> shift == b for t in times) for b in counts}


def test_bounds_by_hand() -> None:
    # Times 1 to 10, one each, and 10% + 20% held out: test is {10}, validation {8, 9}.
    histogram = combine(TimeHistogram(), [range(1, 11)])
    bounds = time_bounds(histogram, validation=0.2, test=0.1)
    assert bounds == (8, 10)
    splits = [split_of_time(time, bounds) for time in (1, 7, 8, 9, 10)]
    assert splits == ["train", "train", "validation", "validation", "test"]


def test_rows_of_one_time_are_not_parted() -> None:
    # Half of the rows share the last time: more than the share that is wanted, so they train.
    histogram = combine(TimeHistogram(), [[1, 2, 3, 9, 9, 9]])
    bounds = time_bounds(histogram, validation=0.1, test=0.1)
    assert [split_of_time(time, bounds) for time in (1, 9)] == ["train", "train"]
    assert time_bounds((0, {}), 0.1, 0.1) == (1, 1)  # no times at all


def test_nothing_held_out() -> None:
    bounds = time_bounds((0, {5: 3}), validation=0.0, test=0.0)
    assert split_of_time(5, bounds) == "train"


def test_hash_split_has_the_shares_and_follows_the_seed() -> None:
    config = PreprocessConfig(validation_share=0.2, test_share=0.1)
    queries = [f"query {n}" for n in range(4000)]
    splits = [split_of_query("search", query, config) for query in queries]
    # Three standard deviations of 4000 draws: 0.015 of 0.1, 0.019 of 0.2.
    assert abs(splits.count("test") / 4000 - 0.1) < 0.015
    assert abs(splits.count("validation") / 4000 - 0.2) < 0.019
    assert splits == [split_of_query("search", query, config) for query in queries]
    other = config.model_copy(update={"seed": 1})
    assert splits != [split_of_query("search", query, other) for query in queries]


@pytest.mark.parametrize("seed", range(3))
def test_keep_least_is_the_sorted_head(seed: int) -> None:
    values = [(random.Random(n).randrange(50), f"token{n}") for n in range(200)]
    assert combine(KeepLeast(7), dealt(values, 1 + seed, seed)) == sorted(values)[:7]
    assert combine(KeepLeast(500), dealt(values, 2, seed)) == sorted(values)


def test_seeded_keys_do_not_run_parts_together() -> None:
    assert seeded_key(0, "ab", "c") != seeded_key(0, "a", "bc")
    assert seeded_key(0, "a") != seeded_key(1, "a")
    assert seeded_key(0, "a") == seeded_key(0, "a")
