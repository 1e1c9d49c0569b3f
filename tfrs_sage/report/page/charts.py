"""The report's charts: rows with intervals, lines, and histograms, in one look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tfrs_sage.report.page.scales import Scale, scale_over, told
from tfrs_sage.report.page.svg import DASHES, NUM_SERIES, Drawing

WIDTH = 440  # a phone shows it at nearly this width, a screen two side by side
ROW, LABEL, VALUE = 24, 150, 126  # height of a row; widths of its label and of its figures
LETTERS = 22  # of a row's label
LEFT, BOTTOM, TOP, RIGHT = 52, 38, 10, 12  # around a chart with two axes
MARKED = 7  # marks on a line


@dataclass(frozen=True)
class Row:
    """One line of a chart of rows.

    Attributes:
        label: in front.
        value: the mark.
        low: lower end of its interval; None for none.
        high: upper end.
        series: shape and colour.
        text: in place of the figures behind.
        reference: an upright line that the value is to be compared with.
    """

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    series: int = 0
    text: str | None = None
    reference: float | None = None

    @property
    def told(self) -> str:
        if self.text is not None:
            return self.text
        if self.low is None or self.high is None:
            return f"{self.value:.3f}"
        return f"{self.value:.3f} ({self.low:.3f}–{self.high:.3f})"


@dataclass(frozen=True)
class Line:
    """One line of a chart with two axes; `low` and `high` are a band around it."""

    label: str
    xs: Sequence[float]
    ys: Sequence[float]
    series: int = 0
    low: Sequence[float] = ()
    high: Sequence[float] = ()


def interval_rows(rows: Sequence[Row], label: str, bars: bool = False) -> Markup:
    """Marks with their intervals, a row each, from zero on.

    Args:
        rows: at least one, none below 0.
        label: what a reader who does not see it is told.
        bars: draw bars from zero in place of marks, for shares of a whole.
    """
    drawing = Drawing(WIDTH, ROW * len(rows) + 26, label)
    highest = max(1e-9, *(max(row.value, row.high or 0, row.reference or 0) for row in rows))
    scale = Scale(0.0, highest * 1.04, LABEL, WIDTH - VALUE)
    bottom = ROW * len(rows) + 4
    for tick in scale.ticks(4):
        drawing.line(scale(tick), 0, scale(tick), bottom, "grid")
        drawing.text(scale(tick), bottom + 14, told(tick), "tick", "middle")
    for place, row in enumerate(rows):
        y = ROW * place + ROW / 2
        drawing.text(LABEL - 8, y + 4, row.label, "label", "end", LETTERS)
        if bars:
            color = f"bar s{row.series % NUM_SERIES}"
            width = scale(row.value) - scale.start
            drawing.add("rect", color, x=scale.start, y=y - 7, width=width, height=14)
        if row.low is not None and row.high is not None:
            color = f"range s{row.series % NUM_SERIES}"
            drawing.line(scale(row.low), y, scale(row.high), y, color)
        if not bars:
            drawing.mark(scale(row.value), y, row.series, 4.5)
        if row.reference is not None:
            drawing.line(scale(row.reference), y - 10, scale(row.reference), y + 10, "reference")
        drawing.text(WIDTH - VALUE + 8, y + 4, row.told, "figures")
    return drawing.markup()


def line_chart(
    lines: Sequence[Line],
    label: str,
    x_title: str,
    y_title: str,
    log_x: bool = False,
    log_y: bool = False,
    zero: bool = False,
) -> Markup:
    """Lines over two axes, each with its marks and dashes; bands where they have them.

    Args:
        lines: at least one point in all; above 0 on a logarithmic axis.
        label: what a reader who does not see it is told.
        x_title: below.
        y_title: above the vertical axis.
        log_x: a logarithmic horizontal axis.
        log_y: a logarithmic vertical axis.
        zero: the vertical axis begins at 0.
    """
    height = 250
    drawing = Drawing(WIDTH, height, label)
    xs = [x for line in lines for x in line.xs]
    ys = [y for line in lines for y in (*line.ys, *line.low, *line.high)]
    across = scale_over(xs, LEFT, WIDTH - RIGHT, log_x)
    up = scale_over(ys, height - BOTTOM, TOP + 14, log_y, zero)
    _axes(drawing, across, up, x_title, y_title)
    for line in lines:
        places = [(across(x), up(y)) for x, y in zip(line.xs, line.ys, strict=True)]
        number = line.series % NUM_SERIES
        if line.low:
            edges = [
                [(across(x), up(y)) for x, y in zip(line.xs, side, strict=True)]
                for side in (line.low, line.high)
            ]
            drawing.area(edges[1], edges[0], f"band s{number}")
        drawing.path(places, f"curve s{number}", DASHES[number])
        every = max(1, len(places) // MARKED)
        for x, y in places[every // 2 :: every]:
            drawing.mark(x, y, number, 3.5)
    return drawing.markup()


def histogram(
    counts: Mapping[str, float], label: str, x_title: str, y_title: str, series: int = 0
) -> Markup:
    """Bars side by side, each with its name below.

    Args:
        counts: by name, at least one.
        label: what a reader who does not see it is told.
        x_title: below.
        y_title: above the vertical axis.
        series: colour.
    """
    height = 230
    drawing = Drawing(WIDTH, height, label)
    up = scale_over([0.0, max(1e-9, *counts.values())], height - BOTTOM, TOP + 14, zero=True)
    width = (WIDTH - LEFT - RIGHT) / len(counts)
    _axes(drawing, None, up, x_title, y_title)
    every = -(-len(counts) // 10)
    for place, (name, count) in enumerate(counts.items()):
        x = LEFT + place * width
        drawing.add(
            "rect",
            f"bar s{series}",
            x=x + width * 0.1,
            y=up(count),
            width=width * 0.8,
            height=up.start - up(count),
        )
        if place % every == 0:
            drawing.text(x + width / 2, height - BOTTOM + 14, name, "tick", "middle", 10)
    return drawing.markup()


def _axes(drawing: Drawing, across: Scale | None, up: Scale, x_title: str, y_title: str) -> None:
    bottom, right = drawing.height - BOTTOM, drawing.width - RIGHT
    for tick in up.ticks():
        drawing.line(LEFT, up(tick), right, up(tick), "grid")
        drawing.text(LEFT - 6, up(tick) + 4, told(tick), "tick", "end")
    if across is not None:
        for tick in across.ticks():
            drawing.line(across(tick), bottom, across(tick), bottom + 4, "axis")
            drawing.text(across(tick), bottom + 16, told(tick), "tick", "middle")
    drawing.line(LEFT, bottom, right, bottom, "axis")
    drawing.text((LEFT + right) / 2, drawing.height - 5, x_title, "title", "middle")
    drawing.text(4, TOP + 2, y_title, "title")
