"""A small SVG drawing board: elements with classes, whose colours the page's style decides."""

from collections.abc import Iterable
from xml.etree.ElementTree import Element, SubElement, tostring

from markupsafe import Markup

# Corners of each mark around (0, 0) with radius 1. Colours say the same: a mark is told from the
# next by its shape in black and white too, or by any kind of colour vision.
MARKS = (
    "circle",
    "M-.9-.9H.9V.9H-.9Z",
    "M0-1.15L1.05.8H-1.05Z",
    "M0-1.25L1.1 0 0 1.25-1.1 0Z",
    "M0 1.15L1.05-.8H-1.05Z",
    "M-.38-1H.38V-.38H1V.38H.38V1H-.38V.38H-1V-.38H-.38Z",
    "M-1-.55-.55-1 0-.45.55-1 1-.55.45 0 1 .55.55 1 0 .45-.55 1-1 .55-.45 0Z",
)
DASHES = ("", "6 3", "2 2", "8 3 2 3", "12 3", "4 2 1 2", "1 3")
NUM_SERIES = len(MARKS)


class Drawing:
    """An SVG picture that scales with its box.

    Args:
        width: of the coordinates; the picture's greatest width in pixels too.
        height: likewise.
        label: what a reader who does not see it is told.
    """

    def __init__(self, width: float, height: float, label: str) -> None:
        self.width, self.height = width, height
        self.root = Element(
            "svg",
            {
                "viewBox": f"0 0 {_number(width)} {_number(height)}",
                "style": f"max-width:{_number(width * 1.15)}px",
                "role": "img",
                "aria-label": label,
            },
        )

    def add(self, name: str, klass: str = "", **attributes: object) -> Element:
        """Any element; underscores in names are dashes, numbers are shortened."""
        values = {key.replace("_", "-"): _value(value) for key, value in attributes.items()}
        if klass:
            values["class"] = klass
        return SubElement(self.root, name, values)

    def line(self, x1: float, y1: float, x2: float, y2: float, klass: str) -> Element:
        return self.add("line", klass, x1=x1, y1=y1, x2=x2, y2=y2)

    def path(self, points: Iterable[tuple[float, float]], klass: str, dash: str = "") -> Element:
        """A line through points."""
        drawn = "L".join(f"{_number(x)} {_number(y)}" for x, y in points)
        more = {"stroke_dasharray": dash} if dash else {}
        return self.add("path", klass, d=f"M{drawn}", **more)

    def area(
        self, upper: list[tuple[float, float]], lower: list[tuple[float, float]], klass: str
    ) -> Element:
        """The band between two lines."""
        drawn = "L".join(f"{_number(x)} {_number(y)}" for x, y in [*upper, *reversed(lower)])
        return self.add("path", klass, d=f"M{drawn}Z")

    def text(
        self, x: float, y: float, text: str, klass: str = "", anchor: str = "start", most: int = 0
    ) -> Element:
        """A text; cut off with dots after `most` letters, the whole then being told on hover."""
        shown = text if not most or len(text) <= most else text[: most - 1] + "…"
        element = self.add("text", klass, x=x, y=y, text_anchor=anchor)
        element.text = shown
        if shown != text:
            SubElement(element, "title").text = text
        return element

    def mark(self, x: float, y: float, series: int, radius: float, klass: str = "") -> Element:
        """The mark of a series, in its colour."""
        shape = MARKS[series % NUM_SERIES]
        klass = f"{klass} mark s{series % NUM_SERIES}".strip()
        if shape == "circle":
            return self.add("circle", klass, cx=x, cy=y, r=radius)
        place = f"translate({_number(x)} {_number(y)}) scale({_number(radius)})"
        return self.add("path", klass, d=shape, transform=place)

    def markup(self) -> Markup:
        """The picture as HTML; every text is escaped."""
        return Markup(tostring(self.root, encoding="unicode"))


def series_key(series: int, line: bool = True) -> Markup:
    """The mark of a series for a legend, with its line or without."""
    drawing = Drawing(30, 12, "")
    drawing.root.attrib.update({"class": "key", "aria-hidden": "true", "style": ""})
    number = series % NUM_SERIES
    if line:
        drawing.path([(0, 6), (30, 6)], f"curve s{number}", DASHES[number])
    drawing.mark(15, 6, series, 4)
    return drawing.markup()


def _number(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".") if value != int(value) else str(int(value))


def _value(value: object) -> str:
    return _number(value) if isinstance(value, float) else str(value)
