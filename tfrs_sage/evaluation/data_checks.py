"""What may be wrong with a data set that is trained and tested on: numbers, then warnings."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

FEWEST_QUERIES = 100
WIDEST_INTERVAL = 0.1
LEAST_DRIFT = 0.1
SHOWN = 5
_NO_WORD = re.compile(r"[\W_]+")

Pairs = Iterable[tuple[str, str]]


def normalised(text: str) -> str:
    """A text as its words: NFKC, case folded, what is no letter or digit as one blank."""
    return _NO_WORD.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def leakage(train: Pairs, test: Pairs) -> dict[str, Any]:
    """What the test split shares with the training split.

    Args:
        train: (query, candidate) of each training pair.
        test: likewise of the test split.

    Returns:
        `test_pairs`, `test_queries` (both distinct); `shared_pairs`, `shared_queries` and the
        shares `pair_share`, `query_share` of the test split that is in the training split too. A
        shared pair was learned by heart; a shared query is right where the split is by time.
    """
    train_set, test_set = set(train), set(test)
    train_queries, test_queries = ({query for query, _ in one} for one in (train_set, test_set))
    pairs, queries = len(train_set & test_set), len(train_queries & test_queries)
    return {
        "test_pairs": len(test_set),
        "test_queries": len(test_queries),
        "shared_pairs": pairs,
        "shared_queries": queries,
        "pair_share": pairs / max(1, len(test_set)),
        "query_share": queries / max(1, len(test_queries)),
    }


def duplicates_across(train: Iterable[str], test: Iterable[str]) -> dict[str, Any]:
    """Test texts that differ from a training text in nothing but case, signs and spaces.

    Args:
        train: texts of the training split.
        test: texts of the test split.

    Returns:
        `test_texts` (distinct), `duplicates` (not in the training split themselves, but equal to
        one of it by `normalised`), `share` of the distinct test texts, `examples` (test, train).
    """
    known = set(train)
    by_words = {normalised(text): text for text in sorted(known)}
    tested = sorted(set(test))
    found = [
        (text, by_words[normalised(text)])
        for text in tested
        if text not in known and normalised(text) in by_words
    ]
    return {
        "test_texts": len(tested),
        "duplicates": len(found),
        "share": len(found) / max(1, len(tested)),
        "examples": found[:SHOWN],
    }


def duplicates_within(texts: Mapping[str, str]) -> dict[str, Any]:
    """Items with one text by `normalised`: of such, a ranking cannot tell the right one.

    Args:
        texts: text by id; items without a word are left out.

    Returns:
        `items`, `duplicates` (items that another one equals), `share`, `examples` (ids of groups).
    """
    groups: dict[str, list[str]] = {}
    for one, text in texts.items():
        groups.setdefault(normalised(text), []).append(one)
    groups.pop("", None)
    same = sorted((ids for ids in groups.values() if len(ids) > 1), key=lambda ids: -len(ids))
    count = sum(map(len, same))
    return {
        "items": len(texts),
        "duplicates": count,
        "share": count / max(1, len(texts)),
        "examples": [ids[:SHOWN] for ids in same[:SHOWN]],
    }


def drift(train: npt.ArrayLike, test: npt.ArrayLike) -> dict[str, float]:
    """How far a quantity is distributed otherwise in the test split than in the training split.

    The two-sample Kolmogorov-Smirnov distance: the largest difference of the two distribution
    functions, 0 to 1. `chance` is the distance that two samples of these sizes from one
    distribution exceed in 5% of cases, `1.358 sqrt((n + m) / (n m))`.

    Args:
        train: numbers `[n]`, e.g. words of each query, or popularity of each positive.
        test: numbers `[m]`.

    Returns:
        `distance`, `chance`, and `train_mean`, `test_mean`, `train_median`, `test_median`.

    Raises:
        ValueError: a side is empty.

    References:
        Smirnov, Annals of Mathematical Statistics 19 (1948).
    """
    a, b = np.sort(np.asarray(train, np.float64)), np.sort(np.asarray(test, np.float64))
    if not (a.size and b.size):
        raise ValueError(
            f"drift needs numbers of both splits. Received: {a.size} and {b.size} numbers."
        )
    points = np.concatenate([a, b])
    distances = np.searchsorted(a, points, "right") / a.size
    distances -= np.searchsorted(b, points, "right") / b.size
    return {
        "distance": float(np.abs(distances).max()),
        "chance": float(1.358 * np.sqrt((a.size + b.size) / (a.size * b.size))),
        "train_mean": float(a.mean()),
        "test_mean": float(b.mean()),
        "train_median": float(np.median(a)),
        "test_median": float(np.median(b)),
    }


def data_warnings(
    tasks: Mapping[str, Mapping[str, Any]], catalogue: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """What a reader of the figures must know, in sentences with numbers.

    Args:
        tasks: by task any of `num_queries` of the test split, `interval` (low, high) of its main
            figure, `leakage`, `duplicates` (across splits), `drift` (by quantity).
        catalogue: `duplicates_within` by kind of candidate.

    Returns:
        The warnings; empty where nothing is wrong.
    """
    found = []
    for task, one in tasks.items():
        found += [f"{task}: {text}" for text in _task_warnings(one)]
    found += [
        f"{same['duplicates']} of {same['items']} {kind}s ({same['share']:.1%}) have the text of "
        "another one: no ranking by text can tell them apart"
        for kind, same in catalogue.items()
        if same["duplicates"]
    ]
    return found


def _task_warnings(one: Mapping[str, Any]) -> list[str]:
    found = []
    queries = one.get("num_queries", FEWEST_QUERIES)
    if queries < FEWEST_QUERIES:
        found.append(f"{queries} test queries, fewer than {FEWEST_QUERIES}: too few to trust")
    low, high = one.get("interval", (0.0, 0.0))
    if high - low > WIDEST_INTERVAL:
        found.append(
            f"the interval {low:.3f} to {high:.3f} is wider than {WIDEST_INTERVAL}: "
            "only large differences can be seen"
        )
    leaked = one.get("leakage")
    if leaked and leaked["shared_pairs"]:
        found.append(
            f"{leaked['shared_pairs']} of {leaked['test_pairs']} test pairs "
            f"({leaked['pair_share']:.1%}) are training pairs too"
        )
    same = one.get("duplicates")
    if same and same["duplicates"]:
        found.append(
            f"{same['duplicates']} of {same['test_texts']} test queries ({same['share']:.1%}) are "
            f"training queries but for case and signs, e.g. {same['examples'][0][0]!r}"
        )
    for quantity, moved in one.get("drift", {}).items():
        if moved["distance"] > max(LEAST_DRIFT, moved["chance"]):
            found.append(
                f"{quantity} drifts: mean {moved['train_mean']:.2f} in training, "
                f"{moved['test_mean']:.2f} in the test (distance {moved['distance']:.2f})"
            )
    return found


def words_of(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    """Number of words of each text, int64 `[n]`."""
    return np.array([len(text.split()) for text in texts], np.int64)
