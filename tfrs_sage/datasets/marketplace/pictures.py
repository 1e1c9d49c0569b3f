"""Draws a product so that its type, colour and pattern can be seen: Pillow shapes to JPEG."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from tfrs_sage.datasets.marketplace.silhouettes import SILHOUETTES
from tfrs_sage.datasets.marketplace.taxonomy import COLORS, PATTERNS, TYPES

SIDE = 96  # pixels a side of a finished picture
SCALE = 2  # drawn at twice the size, then averaged down: smooth edges
CANVAS = SIDE * SCALE
Rgb = tuple[int, int, int]
ROLES = ("hole", "body", "trim", "frame", "light", "leaf", "flame", "lens")

_FIXED: dict[str, Rgb] = {
    "light": (243, 240, 233),
    "leaf": (70, 130, 70),
    "flame": (250, 190, 70),
    "lens": (40, 44, 52),
}
_FRAMES: tuple[Rgb, ...] = ((150, 108, 66), (92, 62, 40), (176, 178, 182), (60, 60, 64))
_GROUNDS: tuple[Rgb, ...] = ((238, 234, 226), (226, 232, 236), (236, 226, 226), (228, 234, 224))


@dataclass(frozen=True)
class Look:
    """What of a product can be seen: indices into the taxonomy."""

    product_type: int
    color: int
    pattern: int


def draw_product(look: Look, view: int, random: np.random.Generator) -> bytes:
    """One product picture.

    Args:
        look: Look. What is drawn.
        view: int. 0: on white; 1: on a tinted ground; 2: mirrored on white; 3: a close-up of
            the surface.
        random: numpy Generator. Decides shade, place, size and tilt.

    Returns:
        JPEG bytes of `SIDE` x `SIDE` pixels.
    """
    if view == 3:
        return _jpeg(_surface(look, random, zoom=2.2))
    ground = (255, 255, 255) if view in (0, 2) else _GROUNDS[random.integers(len(_GROUNDS))]
    canvas = Image.new("RGB", (CANVAS, CANVAS), ground)
    size = random.uniform(0.80, 0.96) if view != 1 else random.uniform(0.62, 0.85)
    _place(canvas, look, random, size, (0.5, 0.5), mirrored=view == 2)
    return _jpeg(canvas)


def draw_scene(looks: list[Look], random: np.random.Generator) -> bytes:
    """A room with the first product large in front and the others small around it.

    Args:
        looks: list of Look, 1 to 3.
        random: numpy Generator.

    Returns:
        JPEG bytes of `SIDE` x `SIDE` pixels.
    """
    wall = _GROUNDS[random.integers(len(_GROUNDS))]
    canvas = Image.new("RGB", (CANVAS, CANVAS), wall)
    floor = _shade(wall, random.uniform(0.72, 0.86))
    ImageDraw.Draw(canvas).rectangle((0, int(CANVAS * 0.68), CANVAS, CANVAS), fill=floor)
    for look, x in zip(looks[1:], (0.82, 0.16), strict=False):
        _place(canvas, look, random, random.uniform(0.28, 0.36), (x, 0.30), mirrored=False)
    mirrored = bool(random.random() < 0.5)
    _place(canvas, looks[0], random, random.uniform(0.60, 0.70), (0.48, 0.60), mirrored=mirrored)
    return _jpeg(canvas)


def _place(
    canvas: Image.Image,
    look: Look,
    random: np.random.Generator,
    size: float,
    centre: tuple[float, float],
    mirrored: bool,
) -> None:
    """Draws the product of relative `size` around the relative `centre` of the canvas."""
    side = int(CANVAS * size)
    surface = _surface(look, random, zoom=1.0, side=side)
    base = _base_color(look, random)
    frame = _FRAMES[random.integers(len(_FRAMES))]
    roles = _draw_roles(look, side, stretch=random.uniform(0.92, 1.0))
    roles = roles.rotate(random.uniform(-4, 4), Image.Resampling.NEAREST)
    if mirrored:
        roles = roles.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    left = int(centre[0] * CANVAS - side / 2 + random.integers(-4, 5))
    top = int(centre[1] * CANVAS - side / 2 + random.integers(-4, 5))
    for number, role in enumerate(ROLES[1:], start=1):
        mask = roles.point([255 * (value == number) for value in range(256)])
        if role == "body":
            canvas.paste(surface, (left, top), mask)
        elif mask.getbbox() is not None:
            color = _role_color(role, base, frame)
            canvas.paste(color, (left, top, left + side, top + side), mask)


def _draw_roles(look: Look, side: int, stretch: float) -> Image.Image:
    """The silhouette as an `L` image whose pixel values are indices into `ROLES`.

    Args:
        stretch: float. Height over width, from the floor up: one sofa is lower than the next.
    """
    roles = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(roles)
    for role, kind, numbers in SILHOUETTES[TYPES[look.product_type].name]:
        _draw_part(draw, ROLES.index(role), kind, numbers, side, stretch)
    return roles


def _draw_part(
    draw: ImageDraw.ImageDraw,
    fill: int,
    kind: str,
    numbers: tuple[float, ...],
    side: int,
    stretch: float,
) -> None:
    tail = 1 if kind in ("round", "line") else 0
    points = numbers[: len(numbers) - tail]
    xy = [
        (x * side, (1 - (1 - y) * stretch) * side)
        for x, y in zip(points[::2], points[1::2], strict=True)
    ]
    if kind == "poly":
        draw.polygon(xy, fill=fill)
    elif kind == "box":
        draw.rectangle(xy, fill=fill)
    elif kind == "oval":
        draw.ellipse(xy, fill=fill)
    elif kind == "round":
        draw.rounded_rectangle(xy, numbers[-1] * side, fill=fill)
    else:
        draw.line(xy, fill=fill, width=max(1, round(numbers[-1] * side)), joint="curve")


def _surface(
    look: Look, random: np.random.Generator, zoom: float, side: int = CANVAS
) -> Image.Image:
    """A square of the product's colour and pattern."""
    base = _base_color(look, random)
    second = _second_color(base)
    image = Image.new("RGB", (side, side), base)
    draw = ImageDraw.Draw(image)
    step = int(CANVAS * 0.105 * zoom * random.uniform(0.9, 1.1))
    name = PATTERNS[look.pattern]
    rows = range(-step, side + step, step)
    if name == "striped":
        for x in rows:
            draw.rectangle((x, 0, x + step // 2 - 1, side), fill=second)
    elif name == "dotted":
        for number, y in enumerate(rows):
            for x in rows:
                _disc(draw, x + (number % 2) * step / 2, y, step * 0.27, second)
    elif name == "checked":
        mixed = _mix(base, second, 0.5)
        for y in rows:
            draw.rectangle((0, y, side, y + step // 2 - 1), fill=mixed)
            draw.rectangle((y, 0, y + step // 2 - 1, side), fill=mixed)
        for x in rows:
            for y in rows:
                draw.rectangle((x, y, x + step // 2 - 1, y + step // 2 - 1), fill=second)
    elif name == "floral":
        _flowers(draw, side, int(step * 1.9), second)
    elif name == "zigzag":
        for y in range(-step, side + 2 * step, step):
            corners = enumerate(range(-step, side + step, step // 2))
            points = [(x, y + (number % 2) * step * 0.6) for number, x in corners]
            draw.line(points, fill=second, width=max(2, step // 3))
    return image


def _flowers(draw: ImageDraw.ImageDraw, side: int, step: int, color: Rgb) -> None:
    for number, y in enumerate(range(0, side + step, step)):
        for x in range((number % 2) * step // 2, side + step, step):
            for turn in np.linspace(0, 2 * np.pi, 5, endpoint=False):
                dx, dy = step * 0.2 * np.cos(turn), step * 0.2 * np.sin(turn)
                _disc(draw, x + dx, y + dy, step * 0.13, color)
            _disc(draw, x, y, step * 0.1, (250, 200, 60))


def _disc(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, color: Rgb) -> None:
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)


def _base_color(look: Look, random: np.random.Generator) -> Rgb:
    """The product's colour with a little of its own: no two reds are quite the same."""
    red, green, blue = COLORS[look.color].rgb
    shift = random.normal(0, 5, 3) + random.normal(0, 6)
    return _clip((red + shift[0], green + shift[1], blue + shift[2]))


def _second_color(base: Rgb) -> Rgb:
    """What a pattern is printed in: pale on dark, dark on pale."""
    luma = 0.299 * base[0] + 0.587 * base[1] + 0.114 * base[2]
    return _mix(base, (255, 255, 255), 0.8) if luma < 170 else _mix(base, (40, 36, 34), 0.62)


def _role_color(role: str, base: Rgb, frame: Rgb) -> Rgb:
    if role == "trim":
        return _shade(base, 0.72) if sum(base) > 150 else _mix(base, (255, 255, 255), 0.25)
    return frame if role == "frame" else _FIXED[role]


def _shade(color: Rgb, factor: float) -> Rgb:
    return _mix((0, 0, 0), color, factor)


def _mix(start: Rgb, end: Rgb, share: float) -> Rgb:
    a, b, c = (s + (e - s) * share for s, e in zip(start, end, strict=True))
    return _clip((a, b, c))


def _clip(color: tuple[float, float, float]) -> Rgb:
    red, green, blue = (int(min(255, max(0, value))) for value in color)
    return red, green, blue


def _jpeg(canvas: Image.Image) -> bytes:
    file = io.BytesIO()
    canvas.reduce(SCALE).save(file, "JPEG", quality=82)
    return file.getvalue()
