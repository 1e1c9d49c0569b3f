"""From numbers to places on a chart's axis, and the round numbers that stand beside it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """An axis from `low` to `high`, drawn from `start` to `stop`.

    Attributes:
        low: number at `start`; above 0 on a logarithmic axis.
        high: number at `stop`, above `low`.
        start: place in the drawing.
        stop: place in the drawing.
        log: whether equal ratios are equally far apart.
    """

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The place of a number; those outside are put on the edge."""
        value = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.stop - self.start)

    def ticks(self, most: int = 5) -> list[float]:
        """Round numbers within the axis."""
        if self.log:
            return log_ticks(self.low, self.high, most)
        return round_ticks(self.low, self.high, most)


def scale_over(
    values: Sequence[float], start: float, stop: float, log: bool = False, zero: bool = False
) -> Scale:
    """An axis over all numbers, with a little room; with `zero` it begins there."""
    low, high = min(values), max(values)
    if log:
        return Scale(low / 1.1, high * 1.1, start, stop, True)
    room = (high - low or abs(high) or 1.0) * 0.05
    return Scale(0.0 if zero and low >= 0 else low - room, high + room, start, stop)


def round_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten, at most `most` of them."""
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    for factor in (1, 2, 5, 10, 20, 50):
        first, last = math.ceil(low / (factor * step)), math.floor(high / (factor * step))
        if last - first + 1 <= most:
            return [round(number * factor * step, 12) for number in range(first, last + 1)]
    return []


def log_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Powers of ten, or 1, 2, 5 times them where there would be fewer than two."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 2, 5)):
        found = [f * 10.0**e for e in exponents for f in factors if low <= f * 10.0**e <= high]
        if len(found) >= 2:
            every = math.ceil(len(found) / most)
            return found[::every]
    return round_ticks(low, high, most)


def told(value: float) -> str:
    """A number in few letters: 0.312, 12.5, 56,858, 1.2M, 5e-05."""
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:.3g}M"
    if size >= 100 or value == int(value):
        return f"{value:,.0f}"
    if 0 < size < 1e-3:
        return f"{value:.2g}".replace("e-0", "e-")
    return f"{value:.3g}"
