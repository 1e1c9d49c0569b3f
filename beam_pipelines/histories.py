"""Engagement rows to users' histories: the newest actions of each user, in bounded memory."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from beam_pipelines.counters import count
from beam_pipelines.splits import Histogram, TimeHistogram, split_of_time, time_bounds
from beam_pipelines.tables import RowBatch
from beam_pipelines.vector_table import UNKNOWN, VectorTable
from tfrs_sage.schema.config import PreprocessConfig
from tfrs_sage.schema.conversion import ARROW_TYPES
from tfrs_sage.schema.features import CANDIDATE_TYPES, QUERY_TYPES, SPLITS
from tfrs_sage.schema.rows import MALFORMED
from tfrs_sage.schema.tables import TABLES

# An action on its way: microseconds since the epoch, row of the item, weight. 16 bytes.
ACTION = np.dtype([("time", "<i8"), ("row", "<i4"), ("weight", "<f4")])
HELD_ACTIONS = 500_000  # actions that a bundle gathers by user before it passes them on: 8 MB
_WORD = r"^[^/\s]+$"
_COLUMNS = {
    **{name: ARROW_TYPES[column.kind] for name, column in TABLES["engagements"].columns.items()},
    MALFORMED: pa.string(),
}
# (packed `ACTION` arrays, actions in them, actions seen, actions merged)
Newest = tuple[list[bytes], int, int, int]


class ReadHistories(beam.PTransform):
    """RowBatch -> `(user, (packed ACTION array, seen, merged))`: each user once.

    A history is made of the `user` rows whose candidate is a product: the user is the query.
    With `attributed`, rows of other query types that name a `user_id` count too. Rows without a
    time, of items without an embedding and of actions of weight 0 are left out and counted. Rows
    of one user, item and moment are one action, with the largest of their weights.

    Args:
        table: folder of the `VectorTable`.
        splits: of the rows to take; all rows where it names all.
        shares: `validation_share` and `test_share` for rows without a split, which are parted by
            time at the bounds that `preprocess` finds.
        weights: of the action words; 1 where absent.
        max_actions: newest actions kept of a user.
        attributed: see above.
        as_of: latest time taken, in microseconds; None for no bound.
    """

    def __init__(
        self,
        table: Path,
        splits: Iterable[str],
        shares: PreprocessConfig,
        weights: Mapping[str, float],
        max_actions: int,
        attributed: bool = False,
        as_of: int | None = None,
    ) -> None:
        super().__init__()
        self._splits = tuple(splits)
        self._shares = shares
        self._max_actions = max_actions
        self.as_of = as_of
        self._parse = (str(table), self._splits, dict(weights), attributed, as_of)

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        bounds: Any = None
        if set(self._splits) != set(SPLITS):
            bounds = beam.pvalue.AsSingleton(
                batches
                | "UndecidedTimes" >> beam.FlatMap(undecided_times)
                | "MergeTimes" >> beam.CombineGlobally(MergeHistograms())
                | "Bounds" >> beam.Map(_bounds, self._shares)
            )
        return (
            batches
            | "Parse" >> beam.ParDo(ParseHistories(*self._parse), bounds)
            | "Newest" >> beam.CombinePerKey(NewestActions(self._max_actions))
        )


def readable(rows: pa.RecordBatch) -> pa.Array:
    """True for the rows in which `check_row` finds nothing wrong, bool `[n]`."""
    good = pc.is_null(rows[MALFORMED])
    for name in ("query", "candidate"):
        good = pc.and_(good, pc.not_equal(pc.utf8_trim_whitespace(rows[name]), ""))
    good = pc.and_(good, pc.match_substring_regex(rows["action"], _WORD))
    for name, words in (("query_type", QUERY_TYPES), ("candidate_type", CANDIDATE_TYPES)):
        good = pc.and_(good, pc.is_in(rows[name], pa.array(words)))
    split, user = rows["split"], pc.utf8_trim_whitespace(rows["user_id"])
    good = pc.and_(good, pc.or_(pc.is_null(split), pc.is_in(split, pa.array(SPLITS))))
    good = pc.and_(good, pc.or_kleene(pc.is_null(user), pc.not_equal(user, "")))
    return pc.fill_null(good, False)


def undecided_times(batch: RowBatch) -> Iterator[tuple[bool, Histogram]]:
    """`(of users, histogram)` of the times of the rows that have one and no split."""
    rows = rows_of_stream(batch)
    rows = rows.filter(readable(rows))
    time = _microseconds(rows)
    open_ = pc.and_(pc.is_null(rows["split"]), pc.is_valid(time))
    is_user = pc.equal(rows["query_type"], "user")
    for of_users in (False, True):
        chosen = pc.and_(open_, is_user if of_users else pc.invert(is_user))
        values, counts = np.unique(time.filter(chosen).to_numpy(), return_counts=True)
        if len(values):
            pairs = zip(values.tolist(), counts.tolist(), strict=True)
            yield of_users, (0, dict(pairs))


class MergeHistograms(beam.CombineFn):
    """`(of users, histogram)` -> the two histograms together, users' last."""

    def __init__(self) -> None:
        self._merge = TimeHistogram().merge_accumulators

    def create_accumulator(self) -> list[Histogram]:
        return [(0, {}), (0, {})]

    def add_input(self, accumulator: list[Histogram], element: Any) -> list[Histogram]:
        of_users, histogram = element
        accumulator[of_users] = self._merge([accumulator[of_users], histogram])
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[list[Histogram]]) -> list[Histogram]:
        parts = list(accumulators)
        return [self._merge([part[kind] for part in parts]) for kind in (0, 1)]

    def extract_output(self, accumulator: list[Histogram]) -> list[Histogram]:
        return accumulator


def _bounds(histograms: list[Histogram], shares: PreprocessConfig) -> tuple[int, int]:
    """Where validation and test begin: by the rows that train; users' own where there are none."""
    others, users = histograms
    chosen = others if others[1] else users
    return time_bounds(chosen, shares.validation_share, shares.test_share)


class ParseHistories(beam.DoFn):
    """RowBatch -> `(user, packed ACTION array)`, gathered by user within a bundle."""

    def __init__(
        self,
        table: str,
        splits: tuple[str, ...],
        weights: dict[str, float],
        attributed: bool,
        as_of: int | None,
    ) -> None:
        self._folder = table
        self._splits = splits
        self._weights = weights
        self._attributed = attributed
        self._as_of = as_of

    def setup(self) -> None:
        self._table = VectorTable(self._folder)

    def start_bundle(self) -> None:
        self._held: dict[str, list[bytes]] = {}
        self._number = 0

    def process(self, batch: RowBatch, bounds: tuple[int, int] | None) -> Iterator[Any]:
        rows = rows_of_stream(batch)
        rows = self._of_users(_counted(rows, readable(rows), "unreadable"))
        times = _microseconds(rows)
        rows = _counted(rows, pc.is_valid(times), "without_time")
        if bounds is not None:
            rows = _counted(rows, _in_splits(rows, self._splits, bounds), "other_splits")
        if self._as_of is not None:
            early = pc.less_equal(_microseconds(rows), self._as_of)
            rows = _counted(rows, early, "after_as_of")
        weights = np.array([self._weights.get(a, 1.0) for a in rows["action"].to_pylist()])
        rows = _counted(rows, pa.array(weights > 0), "weightless")
        items = self._table.rows_of(rows["candidate"])
        known = items != UNKNOWN
        rows = _counted(rows, pa.array(known), "unknown_item")
        actions = np.empty(len(rows), ACTION)
        actions["time"] = _microseconds(rows).to_numpy()
        actions["row"], actions["weight"] = items[known], weights[weights > 0][known]
        self._hold(rows["user"], actions)
        if self._number >= HELD_ACTIONS:
            yield from self._held_actions()

    def finish_bundle(self) -> Iterator[Any]:
        for element in self._held_actions():
            yield beam.transforms.window.GlobalWindows.windowed_value(element)

    def _of_users(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """The rows that belong to a history, with a column `user`."""
        is_user = pc.equal(rows["query_type"], "user")
        user = pc.if_else(is_user, rows["query"], pa.scalar(None, pa.string()))
        if self._attributed:
            user = pc.if_else(is_user, user, rows["user_id"])
        rows = rows.append_column("user", user)
        is_ours = pc.and_(pc.is_valid(user), pc.equal(rows["candidate_type"], "product"))
        return _counted(rows, is_ours, "no_history")

    def _hold(self, users: pa.Array, actions: NDArray[Any]) -> None:
        coded = users.dictionary_encode()
        codes = coded.indices.to_numpy()
        order = np.argsort(codes, kind="stable")
        edges = np.searchsorted(codes[order], np.arange(len(coded.dictionary) + 1))
        actions = actions[order]
        for number, user in enumerate(coded.dictionary.to_pylist()):
            mine = actions[edges[number] : edges[number + 1]].tobytes()
            self._held.setdefault(user, []).append(mine)
        self._number += len(actions)

    def _held_actions(self) -> Iterator[tuple[str, bytes]]:
        held, self._held, self._number = self._held, {}, 0
        for user, parts in held.items():
            yield user, b"".join(parts)


class NewestActions(beam.CombineFn):
    """Packed ACTION arrays -> `(the newest of them, packed, oldest first; seen; merged)`.

    Of each item and moment one action is kept, the heaviest. An accumulator holds at most twice
    the limit besides the last array, however many actions a user has; of equally new ones those
    of the largest row are kept.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def create_accumulator(self) -> Newest:
        return [], 0, 0, 0

    def add_input(self, accumulator: Newest, packed: bytes) -> Newest:
        parts, held, seen, merged = accumulator
        number = len(packed) // ACTION.itemsize
        parts.append(packed)
        return self._bounded((parts, held + number, seen + number, merged))

    def merge_accumulators(self, accumulators: Iterable[Newest]) -> Newest:
        total = self.create_accumulator()
        for one in accumulators:
            sums = [a + b for a, b in zip(total[1:], one[1:], strict=True)]
            total = self._bounded((total[0] + one[0], sums[0], sums[1], sums[2]))
        return total

    def extract_output(self, accumulator: Newest) -> tuple[bytes, int, int]:
        parts, _, seen, merged = self._compact(accumulator)
        return b"".join(parts), seen, merged

    def _bounded(self, accumulator: Newest) -> Newest:
        return self._compact(accumulator) if accumulator[1] > 2 * self._limit else accumulator

    def _compact(self, accumulator: Newest) -> Newest:
        parts, _, seen, merged = accumulator
        actions = np.frombuffer(b"".join(parts), ACTION)
        actions = actions[np.lexsort((-actions["weight"], actions["row"], actions["time"]))]
        first = np.ones(len(actions), bool)
        first[1:] = (actions["time"][1:] != actions["time"][:-1]) | (
            actions["row"][1:] != actions["row"][:-1]
        )
        kept = actions[first][-self._limit :]
        return [kept.tobytes()], len(kept), seen, merged + int((~first).sum())


def rows_of_stream(batch: RowBatch) -> pa.RecordBatch:
    """The rows of a batch as Arrow columns; one that the table lacks is null in every row."""
    with pa.ipc.open_stream(batch[2]) as reader:
        rows = reader.read_next_batch()
    for name, kind in _COLUMNS.items():
        if name not in rows.schema.names:
            rows = rows.append_column(name, pa.nulls(len(rows), kind))
    return rows


def _microseconds(rows: pa.RecordBatch) -> pa.Array:
    """Times in microseconds since the epoch, int64 `[n]`; null where a row has none."""
    return rows["timestamp"].cast(pa.int64())


def _in_splits(rows: pa.RecordBatch, splits: tuple[str, ...], bounds: tuple[int, int]) -> pa.Array:
    """Whether each row is of one of the splits, its own or that of its time."""
    edges = [split_of_time(time, bounds) for time in (bounds[0] - 1, bounds[0], bounds[1])]
    times = _microseconds(rows).to_numpy()
    by_time = pa.array(np.array(edges)[np.searchsorted(np.array(bounds), times, side="right")])
    split = pc.coalesce(rows["split"], by_time.cast(pa.string()))
    return pc.is_in(split, pa.array(splits))


def _counted(rows: pa.RecordBatch, kept: pa.Array, reason: str) -> pa.RecordBatch:
    """The rows that are kept; the others are counted under the reason."""
    left = rows.filter(kept)
    if len(left) < len(rows):
        count(f"histories/{reason}", len(rows) - len(left))
    return left
