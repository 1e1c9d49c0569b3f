"""Filters, upserts, deletions and compaction: the same for every kind."""

import threading
import time

import numpy as np
import pytest

from tfrs_sage.errors import InputError
from tfrs_sage.index import build_index, load_index
from tfrs_sage.index.base import Index

WORDS = ("red", "green", "blue", None)


def _vectors(count: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _names(count: int) -> list[str]:
    return [f"p{i}" for i in range(count)]


class Truth:
    """What an index must answer, one candidate at a time."""

    def __init__(self, vectors, ids, colors) -> None:
        self.rows = dict(zip(ids, zip(vectors, colors, strict=True), strict=True))

    def search(self, query, k, passes=lambda one, color: True) -> list[str]:
        found = [i for i, (_, color) in self.rows.items() if passes(i, color)]
        return sorted(found, key=lambda i: -float(self.rows[i][0] @ query))[:k]


@pytest.fixture(scope="module")
def colors() -> list[str | None]:
    return [WORDS[i] for i in np.random.default_rng(9).integers(4, size=6000)]


@pytest.fixture(scope="module")
def indexes(colors) -> dict[str, Index]:
    pytest.importorskip("scann", reason="ScaNN has no wheel for this platform")
    vectors = _vectors(6000)
    return {
        kind: build_index(
            vectors, _names(6000), kind, recall_target=0.99, attributes={"color": colors}
        )
        for kind in ("brute_force", "scann", "partitioned")
    }


@pytest.mark.parametrize("kind", ["brute_force", "scann", "partitioned"])
def test_random_filters_give_k_results_whenever_k_pass(indexes, colors, kind: str) -> None:
    index, vectors = indexes[kind], _vectors(6000)
    truth, rng = Truth(vectors, _names(6000), colors), np.random.default_rng(11)
    hits = []
    for _ in range(12):
        share = 10 ** rng.uniform(-3.5, 0)
        allow = None
        if rng.random() < 0.7:
            allow = [f"p{i}" for i in np.flatnonzero(rng.random(6000) < share)] + ["unknown"]
        deny = {f"p{i}" for i in rng.integers(6000, size=int(rng.integers(0, 3000)))}
        wanted = [word for word in WORDS[:3] if rng.random() < 0.6]
        where = {"color": wanted} if rng.random() < 0.5 else None
        query, k = _vectors(1, seed=int(rng.integers(1000)))[0], int(rng.integers(1, 200))

        def passes(one, color, allow=allow, deny=deny, where=where):
            return (
                (allow is None or one in set(allow))
                and one not in deny
                and (where is None or color in where["color"])
            )

        if allow is not None:
            allow = list(allow)
        expected = truth.search(query, k, passes)
        ids, scores = index.search(query[None], k, allow, deny, where)
        assert ids.shape == scores.shape == (1, len(expected))
        assert len(set(ids[0])) == len(expected)
        assert all(passes(one, truth.rows[one][1]) for one in ids[0])
        hits.append(len(set(ids[0]) & set(expected)) / max(1, len(expected)))
    assert np.mean(hits) == 1 if index.is_exact else np.mean(hits) > 0.97


def test_one_match_in_50_000_is_found() -> None:
    vectors = _vectors(50_000)
    colors: list[str | None] = ["red"] * 50_000
    colors[31_234] = "gold"
    index = build_index(vectors, _names(50_000), attributes={"color": colors})
    far = -vectors[31_234:31_235]  # the match is the last of all
    ids, scores = index.search(far, 10, where={"color": "gold"})
    assert ids.tolist() == [["p31234"]]
    np.testing.assert_allclose(scores, [[-1.0]], atol=1e-5)
    assert index.search(far, 10, where={"color": "silver"})[0].shape == (1, 0)


def test_a_broad_filter_far_from_the_query_is_widened(monkeypatch) -> None:
    """The candidates that pass are the 1,000 farthest of 10,000: the first fetch has none."""
    monkeypatch.setattr("tfrs_sage.index.filtering.SCORED_AT_ONCE", 10)
    monkeypatch.setattr("tfrs_sage.index.filtering.MOST_FETCHED", 1.1)
    angles = np.linspace(0, np.pi, 10_000)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    colors = ["near"] * 9000 + ["far"] * 1000
    index = build_index(vectors, _names(10_000), attributes={"color": colors})
    ids, _ = index.search([[1.0, 0.0]], 3, where={"color": "far"})
    assert ids.tolist() == [["p9000", "p9001", "p9002"]]


def test_unknown_attributes_and_lengths_are_named() -> None:
    with pytest.raises(InputError, match="2 values of 'color' for 3 candidates"):
        build_index(_vectors(3), _names(3), attributes={"color": ["a", "b"]})
    index = build_index(_vectors(3), _names(3), attributes={"color": ["a", "b", None]})
    with pytest.raises(InputError, match=r"built with: color\. Received: 'colour'"):
        index.search(_vectors(1), 1, where={"colour": "a"})
    with pytest.raises(InputError, match=r"built with: color\. Received: brand"):
        index.upsert(_vectors(1), ["new"], {"brand": ["x"]})
    with pytest.raises(InputError, match=r"\[m, 8\] of this index. Received: shape \[1, 3\]"):
        index.upsert([[1.0, 2.0, 3.0]], ["new"])


@pytest.mark.parametrize("kind", ["brute_force", "partitioned"])
def test_random_changes_against_a_dictionary(kind: str, colors, tmp_path) -> None:
    rng = np.random.default_rng(2)
    vectors = _vectors(600)
    index = build_index(
        vectors, _names(600), kind, recall_target=1.0, attributes={"color": colors[:600]}
    )
    truth = Truth(vectors, _names(600), colors[:600])
    for step in range(30):
        ids = [f"p{i}" for i in rng.choice(900, size=12, replace=False)]
        if rng.random() < 0.5:
            new = _vectors(12, seed=100 + step)
            words = [WORDS[i] for i in rng.integers(4, size=12)]
            index.upsert(new, ids, {"color": words})
            truth.rows |= dict(zip(ids, zip(new, words, strict=True), strict=True))
        else:
            removed = index.delete([*ids, "never there"])
            assert removed == sum(truth.rows.pop(one, None) is not None for one in ids)
        if step == 12:
            index.save(tmp_path / "index")
            index = load_index(tmp_path / "index")
        if step == 20:
            index.compact()
            assert not index.is_changed
        assert len(index) == len(truth.rows)
        query = _vectors(1, seed=step)[0]
        assert index.search(query[None], 25)[0][0].tolist() == truth.search(query, 25)
        red = index.search(query[None], 5, where={"color": "red"})[0][0].tolist()
        assert red == truth.search(query, 5, lambda _, color: color == "red")
        rows, scores = index.search_rows(query[None], 3)
        assert index.ids[rows[0]].tolist() == truth.search(query, 3)
        np.testing.assert_allclose(index.vectors[rows[0]] @ query, scores[0], atol=1e-5)


def test_everything_may_be_deleted() -> None:
    index = build_index(_vectors(5), _names(5))
    assert index.delete(_names(5)) == 5
    assert len(index) == 0
    assert index.search(_vectors(2), 3)[0].shape == (2, 0)
    index.compact()  # nothing to build from: it stays as it is
    index.upsert(_vectors(1), ["again"])
    assert index.search(_vectors(1), 3)[0].tolist() == [["again"]]


def test_a_compaction_that_fails_leaves_the_index_as_it_is(monkeypatch, caplog) -> None:
    index = build_index(_vectors(300), _names(300), "partitioned", recall_target=0.9)
    index.upsert(_vectors(1, seed=5), ["new"])

    def fails(*_):
        raise InputError("the recall is not reached")

    monkeypatch.setattr(type(index.searcher), "build", fails)
    with pytest.raises(InputError, match="not reached"):
        index.compact()
    index.compact_above = 1
    index.delete(["p0"])
    while index._background:
        time.sleep(0.01)
    assert "keeps its changes beside it" in caplog.text
    assert index.compact_above == 4
    assert index.search(_vectors(1, seed=5), 1)[0].tolist() == [["new"]]
    index.delete(["p1"])
    assert len(index) == 299


@pytest.mark.parametrize("kind", ["brute_force", "partitioned"])
def test_changes_from_several_threads_during_searches(kind: str) -> None:
    """Nothing is lost, nothing is found after its deletion returned, compactions pass unseen."""
    index = build_index(_vectors(400), _names(400), kind, recall_target=0.5)
    index.compact_above = 30
    swapped: set[int] = set()
    gone: set[str] = set()  # deletions that have returned; these ids never come back
    errors: list[str] = []
    stop = threading.Event()
    planted = {w: 3 * np.eye(8, dtype=np.float32)[w] for w in range(3)}  # best of their direction

    def write(writer: int) -> None:
        rng = np.random.default_rng(writer)
        for turn in range(120):
            one = f"w{writer}-{turn}"
            index.upsert((planted[writer] * (1 + turn))[None], [one])
            if index.search(planted[writer][None], 1)[0][0, 0] != one:
                errors.append(f"{one} is lost")
            if turn % 3:
                index.delete([one])
                gone.add(one)
            elif turn:
                index.upsert(rng.normal(size=(1, 8)), [f"p{writer * 100 + turn % 100}"])

    def read() -> None:
        rng = np.random.default_rng(99)
        while not stop.is_set():
            before = set(gone)
            ids, _ = index.search(rng.normal(size=(4, 8)), 30)
            back = before & set(ids.ravel())
            if back:
                errors.append(f"deleted but found: {sorted(back)[:3]}")
            if any(len(set(row)) != 30 for row in ids):
                errors.append("a candidate is there twice")
            swapped.add(id(index.searcher))

    readers = [threading.Thread(target=read) for _ in range(2)]
    writers = [threading.Thread(target=write, args=(w,)) for w in range(3)]
    for thread in readers + writers:
        thread.start()
    for thread in writers:
        thread.join()
    deadline = time.monotonic() + 60
    while len(swapped) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    stop.set()
    for thread in readers:
        thread.join()
    assert not errors, errors[:5]
    while index._background:
        time.sleep(0.01)
    index.compact()
    expected = {f"w{w}-{turn}" for w in range(3) for turn in range(0, 120, 3)} | set(_names(400))
    assert set(index.ids) == expected
    assert len(swapped) > 1, "no compaction happened during the searches"
