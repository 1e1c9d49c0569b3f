"""Two runs over the same pairs: which is better in what, and could it be chance."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_sage.errors import InputError
from tfrs_sage.evaluation.paired import paired_test
from tfrs_sage.evaluation.per_query import per_query
from tfrs_sage.evaluation.retrieval_metrics import KS
from tfrs_sage.report.ranks import TaskRanks, pooled, read_ranks


def compare_runs(
    a: Path,
    b: Path,
    split: str = "test",
    groups: Mapping[str, Sequence[str]] | None = None,
    ks: Sequence[int] = KS,
    num_samples: int = 10_000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compares the figures of two evaluated runs, query by query.

    Args:
        a: run folder.
        b: run folder of the other.
        split: both were evaluated on.
        groups: tasks to pool under a name of their own.
        ks: cut-offs.
        num_samples: resamples and sign flips of each test.
        seed: of both.

    Returns:
        `a`, `b`, `split`; `tasks` and `groups` by name: `num_pairs` and `num_queries` that both
        runs answered, `num_left_out` pairs that one of them lacks, `index_size`, and by figure
        the fields of `PairedTest`, the difference being b - a.

    Raises:
        InputError: a run was not evaluated, they have no task in common, a group names another, or
            a task's candidates are not equally many, so that ranks cannot be compared.
    """
    ranks_a, ranks_b = read_ranks(a, split), read_ranks(b, split)
    names = [name for name in ranks_a if name in ranks_b]
    if not names:
        raise InputError(
            f"two runs are compared by the tasks that both have. Found: {', '.join(ranks_a)} in "
            f"{a}, {', '.join(ranks_b)} in {b}."
        )
    for group, members in (groups or {}).items():
        if unknown := sorted(set(members) - set(names)):
            raise InputError(
                f"--group {group} must name tasks that both runs have. Received: "
                f"{', '.join(unknown)}; there are {', '.join(names)}."
            )

    def compared(what: str, members: Sequence[str]) -> dict[str, Any]:
        ours, theirs = (pooled(one[name] for name in members) for one in (ranks_a, ranks_b))
        return _compared(what, ours, theirs, ks, num_samples, seed)

    result: dict[str, Any] = {"a": str(a), "b": str(b), "split": split}
    result["tasks"] = {name: compared(name, [name]) for name in names}
    if groups:
        result["groups"] = {name: compared(name, members) for name, members in groups.items()}
    return result


def _compared(
    what: str, a: TaskRanks, b: TaskRanks, ks: Sequence[int], num_samples: int, seed: int
) -> dict[str, Any]:
    if a.index_size != b.index_size:
        raise InputError(
            f"ranks of {what} can be compared among equally many candidates only. Found: "
            f"{a.index_size} and {b.index_size}. Evaluate both runs on the same tables."
        )
    rows_a = {pair: row for row, pair in enumerate(zip(a.queries, a.candidates, strict=True))}
    rows_b = {pair: row for row, pair in enumerate(zip(b.queries, b.candidates, strict=True))}
    pairs = sorted(rows_a.keys() & rows_b.keys())
    if not pairs:
        raise InputError(
            f"the runs must share pairs of {what}. Found: none. Evaluate both on the same tables."
        )
    query = np.unique(np.array([one for one, _ in pairs], object), return_inverse=True)[1]
    values_a = per_query(a.ranks[[rows_a[pair] for pair in pairs]], query, ks)
    values_b = per_query(b.ranks[[rows_b[pair] for pair in pairs]], query, ks)
    return {
        "num_pairs": len(pairs),
        "num_queries": len(values_a["mrr"][0]),
        "num_left_out": len(rows_a.keys() | rows_b.keys()) - len(pairs),
        "index_size": a.index_size,
        **{
            name: paired_test(values, values_b[name][0], weights, num_samples, seed)._asdict()
            for name, (values, weights) in values_a.items()
        },
    }
