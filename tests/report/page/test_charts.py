"""Charts: places, ticks, words for those who do not see them, and nothing unescaped."""

import xml.etree.ElementTree as ElementTree

import pytest

from tfrs_sage.report.page.charts import Line, Row, histogram, interval_rows, line_chart
from tfrs_sage.report.page.scales import Scale, log_ticks, round_ticks, scale_over, told
from tfrs_sage.report.page.svg import MARKS, Drawing


def elements(markup, klass):
    root = ElementTree.fromstring(str(markup))
    return [one for one in root.iter() if klass in one.get("class", "").split()]


def test_places_on_an_axis() -> None:
    linear = Scale(0.0, 10.0, 100.0, 300.0)
    assert [linear(value) for value in (0, 5, 10, 20)] == [100, 200, 300, 300]
    log = Scale(1.0, 100.0, 0.0, 50.0, log=True)
    assert [log(value) for value in (1, 10, 100)] == pytest.approx([0, 25, 50])
    assert scale_over([2.0, 4.0], 0, 1, zero=True).low == 0
    flat = scale_over([3.0, 3.0], 0, 1)
    assert flat.low < 3 < flat.high


def test_ticks_are_round_and_few() -> None:
    assert round_ticks(0, 1, 4) == [0, 0.5, 1]
    assert round_ticks(0, 9.7) == [0, 2, 4, 6, 8]
    assert round_ticks(0.31, 0.34, 4) == [0.31, 0.32, 0.33, 0.34]
    assert log_ticks(1, 1000) == [1, 10, 100, 1000]
    assert log_ticks(20, 90) == [20, 50]
    assert [told(v) for v in (0.3123, 56858, 12.5, 1.25e6, 5e-5, 0)] == [
        "0.312", "56,858", "12.5", "1.25M", "5e-5", "0",
    ]  # fmt: skip


def test_rows_stand_where_their_numbers_are() -> None:
    chart = interval_rows([Row("a", 0.5, 0.25, 1.0), Row("b", 0.25, series=2)], "two rows")
    ranges, marks = elements(chart, "range"), elements(chart, "mark")
    low, high = (float(ranges[0].get(key)) for key in ("x1", "x2"))
    a = float(marks[0].get("cx"))
    assert len(ranges) == 1  # the second has no interval
    assert (a - low) / (high - low) == pytest.approx((0.5 - 0.25) / 0.75, abs=0.01)
    texts = [one.text for one in elements(chart, "figures")]
    assert texts == ["0.500 (0.250–1.000)", "0.250"]
    assert ElementTree.fromstring(str(chart)).get("aria-label") == "two rows"


def test_bars_begin_at_zero_and_the_reference_is_drawn() -> None:
    chart = interval_rows([Row("a", 0.4, reference=0.2), Row("b", 0.1)], "bars", bars=True)
    first, second = (float(one.get("width")) for one in elements(chart, "bar"))
    assert first / second == pytest.approx(4, rel=0.02)
    [line] = elements(chart, "reference")
    left = float(elements(chart, "bar")[0].get("x"))
    assert (float(line.get("x1")) - left) / first == pytest.approx(0.5, abs=0.01)


def test_lines_and_their_bands() -> None:
    line = Line("x", [1, 10, 100], [0.1, 0.2, 0.3], 1, [0.0, 0.1, 0.2], [0.2, 0.3, 0.4])
    chart = line_chart([line], "a line", "width", "recall", log_x=True, zero=True)
    [curve] = elements(chart, "curve")
    xs = [float(point.split()[0]) for point in curve.get("d")[1:].split("L")]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)
    assert curve.get("stroke-dasharray") and len(elements(chart, "band")) == 1
    # Marks of different series differ in shape, not in colour alone.
    assert len(set(MARKS)) == len(MARKS) == 7


def test_histogram_heights() -> None:
    bars = elements(histogram({"1": 10.0, "2": 5.0, "3": 0.0}, "h", "n", "users"), "bar")
    heights = [float(one.get("height")) for one in bars]
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.2) and heights[2] == 0


def test_texts_are_escaped_and_cut() -> None:
    drawing = Drawing(10, 10, 'a "label" <b>')
    drawing.text(0, 0, "<script>alert(1)</script>", most=10)
    text = str(drawing.markup())
    assert "<script" not in text and "&lt;script&gt;a…" in text
    assert ElementTree.fromstring(text).get("aria-label") == 'a "label" <b>'
