"""The training rows of the engagements, and when their period ends: what enrichments may know.

An enrichment that knew a row of the validation or test split would carry what is to be predicted
into the features. So these rows are the ones that `preprocess`, by the same functions, puts into
the train split.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from beam_pipelines.engagements import NO_TIME, SplitPairs
from beam_pipelines.tables import ReadTable
from tfrs_sage.schema.config import PreprocessConfig

DAY = 86_400_000_000  # microseconds
# What decides the split of a row that states none.
SPLIT_SETTINGS = ("seed", "validation_share", "test_share")

# (task, query, candidate, microseconds since 1970 or `NO_TIME`)
Past = tuple[str, str, str, int]


def split_settings(config: PreprocessConfig) -> dict[str, Any]:
    """The settings that `preprocess` must share with the job that knows its train split."""
    return {name: getattr(config, name) for name in SPLIT_SETTINGS}


class PastEngagements(beam.PTransform):
    """Begin -> (Past rows of the train split, the end of their period, rejects).

    The end is a collection of one int, the newest time among them; `NO_TIME` where no row has a
    time. Rows at or after `until` are left out first.

    Args:
        files: of the tables.
        config: the settings of `preprocess`.
        until: microseconds since 1970; None for the whole train split.
    """

    def __init__(
        self, files: dict[str, list[str]], config: PreprocessConfig, until: int | None
    ) -> None:
        super().__init__()
        self._files = files
        self._config = config
        self._until = until

    def expand(self, begin: Any) -> Any:  # (rows, end, rejects)
        rows, rejects = (
            begin
            | "ReadEngagements" >> ReadTable("engagements", self._files)
            | "Split" >> SplitPairs(self._config)
        )
        past = rows | "OnlyTrain" >> beam.FlatMap(train_row, self._until)
        end = past | "Times" >> beam.Map(lambda row: row[3]) | beam.CombineGlobally(newest)
        return past, end, rejects


def train_row(element: tuple[Any, Any], until: int | None) -> Iterator[Past]:
    """The row, where it is of the train split and before `until`."""
    (task, split, query, candidate), (negative_time, _, _) = element
    time = -negative_time
    if split == "train" and (until is None or time < until):
        yield task, query, candidate, time


def newest(times: Iterable[int]) -> int:
    """The newest of some times; `NO_TIME` of none."""
    return max(times, default=NO_TIME)
