"""What recall is measured with, and the table of all kinds."""

import os

import numpy as np

from tfrs_sage.index import KINDS, build_index, load_index
from tfrs_sage.index.compare import compare_kinds, one_core
from tfrs_sage.index.recall import NUM_QUERIES, RecallMeter, held_out_queries


def _vectors(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 8)).astype(np.float32)


def test_held_out_queries_are_near_candidates_and_those_given() -> None:
    vectors, given = _vectors(700), 100 + _vectors(900, seed=1)
    queries = held_out_queries(vectors, 0, given)
    assert queries.shape == (2 * NUM_QUERIES, 8)
    near, far = queries[:NUM_QUERIES], queries[NUM_QUERIES:]
    distances = np.linalg.norm(near[:, None] - vectors, axis=2).min(axis=1)
    assert distances.min() > 0
    assert np.median(distances / np.linalg.norm(near, axis=1)) < 0.4
    assert {tuple(row) for row in far} <= {tuple(row) for row in given}
    assert held_out_queries(vectors, 0).shape == (NUM_QUERIES, 8)
    assert held_out_queries(vectors[:3], 0, given[:2]).shape == (5, 8)


def test_recall_counts_equal_candidates_for_each_other() -> None:
    vectors = np.repeat(np.eye(8, dtype=np.float32), 20, axis=0)
    meter = RecallMeter(vectors, np.eye(8, dtype=np.float32))

    def second_half(queries, k):  # the other ten of each direction, then anything
        rows = np.argmax(queries, axis=1)[:, None] * 20 + 10 + np.arange(10)
        return np.concatenate([rows, np.zeros((8, k - 10), int)], axis=1), None

    assert meter.measure(second_half).recall[10] == 1

    def nothing(queries, k):
        rows = (np.argmax(queries, axis=1)[:, None] * 20 + 20) % 160 + np.arange(k) % 20
        return rows, None

    assert meter.measure(nothing).recall[10] == 0


def test_queries_that_lie_elsewhere_are_measured_too(tmp_path) -> None:
    """Queries between all clusters find neighbours in many leaves: more has to be looked into."""
    rng = np.random.default_rng(3)
    centres = np.eye(16, dtype=np.float32)[rng.integers(16, size=2000)]
    vectors = centres + 0.02 * rng.normal(size=(2000, 16)).astype(np.float32)
    between = 1 + 0.05 * rng.normal(size=(500, 16)).astype(np.float32)
    ids = [str(row) for row in range(2000)]
    plain = build_index(vectors, ids, "partitioned", 0.9)
    index = build_index(vectors, ids, "partitioned", 0.9, queries=between)
    effort = [one.report["parameters"]["blocks_to_search"] for one in (plain, index)]
    assert effort[1] > 1.5 * effort[0]
    # They are kept, for compactions of the index that is read back.
    again = load_index(index.save(tmp_path / "index"))
    again.delete(["0"])
    again.compact()
    assert again.report["parameters"]["blocks_to_search"] > 1.5 * effort[0]


def test_every_kind_is_a_row_of_the_table(monkeypatch) -> None:
    before = os.sched_getaffinity(0)
    rows = compare_kinds(_vectors(300), recall_target=0.9)
    assert os.sched_getaffinity(0) == before
    assert [row["kind"] for row in rows] == list(KINDS)
    for row in rows:
        if "failed" not in row:
            assert min(row["recall@10"], row["recall@100"]) > 0.8
            assert row["queries_per_second"] > 0
            assert row["one_by_one_per_second"] > 0
    assert rows[0]["recall@10"] == 1 and rows[0]["curve"] == []
    curve = rows[list(KINDS).index("partitioned")]["curve"]
    assert all(point["queries_per_second"] > 0 for point in curve) and curve

    def missing() -> None:
        raise ImportError("no ScaNN here")

    monkeypatch.setattr("tfrs_sage.index.scann_index.import_scann", missing)
    failed = compare_kinds(_vectors(100))[list(KINDS).index("scann")]
    assert failed == {"kind": "scann", "failed": "no ScaNN here"}


def test_one_core_is_left_again() -> None:
    before = os.sched_getaffinity(0)
    with one_core():
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before


def test_the_curve_of_a_kind_leaves_it_as_it_was() -> None:
    vectors = _vectors(3000)
    index = build_index(vectors, map(str, range(3000)), "partitioned", 0.9)
    before = index.searcher.search_rows(vectors[:50], 10)[0]
    meter = RecallMeter(vectors, held_out_queries(vectors, 7))
    curve = [
        meter.measure(one.search_rows).recall[10] for one in index.searcher.at_other_settings()
    ]
    assert len(curve) >= 4 and curve == sorted(curve) and curve[0] < 0.9 < curve[-1]
    np.testing.assert_array_equal(index.searcher.search_rows(vectors[:50], 10)[0], before)
    assert list(build_index(vectors, map(str, range(3000))).searcher.at_other_settings()) == []
