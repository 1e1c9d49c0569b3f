"""Which pairs train and which judge, where the tables do not say."""

from collections.abc import Iterable

import apache_beam as beam

from beam_pipelines.records import seeded_key
from tfrs_sage.schema.config import PreprocessConfig

MAX_BUCKETS = 100_000
# (width of a bucket as a power of two in microseconds, number of rows by bucket)
Histogram = tuple[int, dict[int, int]]


class TimeHistogram(beam.CombineFn):
    """Counts timestamps (int microseconds) exactly, then in buckets once they grow too many.

    Buckets double in width until at most `max_buckets` are left, so the memory is bounded. A part
    of the data never needs wider buckets than the whole, so the result does not depend on how
    the rows were dealt out.
    """

    def __init__(self, max_buckets: int = MAX_BUCKETS) -> None:
        self._max_buckets = max_buckets

    def create_accumulator(self) -> Histogram:
        return 0, {}

    def add_input(self, accumulator: Histogram, timestamp: int) -> Histogram:
        shift, counts = accumulator
        bucket = timestamp >> shift
        counts[bucket] = counts.get(bucket, 0) + 1
        return self._coarsened(shift, counts) if len(counts) > self._max_buckets else accumulator

    def merge_accumulators(self, accumulators: Iterable[Histogram]) -> Histogram:
        parts = list(accumulators)
        shift = max((part[0] for part in parts), default=0)
        merged: dict[int, int] = {}
        for own_shift, counts in parts:
            for bucket, number in counts.items():
                wide = bucket >> (shift - own_shift)
                merged[wide] = merged.get(wide, 0) + number
        return self._coarsened(shift, merged)

    def extract_output(self, accumulator: Histogram) -> Histogram:
        return accumulator

    def _coarsened(self, shift: int, counts: dict[int, int]) -> Histogram:
        while len(counts) > self._max_buckets:
            wider: dict[int, int] = {}
            for bucket, number in counts.items():
                wider[bucket >> 1] = wider.get(bucket >> 1, 0) + number
            shift, counts = shift + 1, wider
        return shift, counts


def time_bounds(histogram: Histogram, validation: float, test: float) -> tuple[int, int]:
    """Where validation and test begin, in microseconds since 1970.

    Args:
        histogram: of the timestamps of the rows without a split.
        validation: share of those rows, before the last.
        test: share of those rows, the last by time.

    Returns:
        The starts of validation and of test: the earliest times with at most the wanted share
        at or after them. Rows of one time are never parted, so shares may come out smaller.
    """
    shift, counts = histogram
    total = sum(counts.values())
    wanted = [(validation + test) * total, test * total]
    bounds = []
    for most in wanted:
        bound, later = None, 0
        for bucket in sorted(counts, reverse=True):
            later += counts[bucket]
            if later > most + 1e-9 * total:
                break
            bound = bucket << shift
        bounds.append(bound if bound is not None else (max(counts, default=0) + 1) << shift)
    return bounds[0], bounds[1]


def split_of_time(timestamp: int, bounds: tuple[int, int]) -> str:
    """`train`, `validation` or `test` of a time in microseconds."""
    validation_start, test_start = bounds
    if timestamp >= test_start:
        return "test"
    return "validation" if timestamp >= validation_start else "train"


def split_of_query(query_type: str, query: str, config: PreprocessConfig) -> str:
    """A split that depends on the query and the seed alone: a query is in one split only."""
    key = int.from_bytes(seeded_key(config.seed, "split", query_type, query), "big")
    share = key / 2**64
    if share < config.test_share:
        return "test"
    return "validation" if share < config.test_share + config.validation_share else "train"
