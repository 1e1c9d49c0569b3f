"""The embedding space on a plane, with the pictures of the products."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from tfrs_sage.report.catalogue_fields import CatalogueFields
from tfrs_sage.report.page.material import Absent, Material
from tfrs_sage.report.page.pictures import data_uri, sprite
from tfrs_sage.report.page.scales import Scale
from tfrs_sage.report.page.svg import NUM_SERIES, Drawing, series_key
from tfrs_sage.report.page.tsne import neighbours_kept, tsne

POINTS, SIDE = 1500, 72  # products on the map, pixels of a picture
SIZE, EDGE, SHOWN = 760, 30, 44  # of the drawing, its margin, a picture on it
KINDS = NUM_SERIES - 1  # told apart; the others are one more
KIND_COLUMNS = ("google_product_category", "product_type", "color", "brand")
MOST_ABSENT = 0.5
OTHER = "other"


def map_section(run: Material) -> dict[str, Any] | Absent:
    """Some products by t-SNE: marks by kind, pictures on hover, and once more as pictures."""
    if not run.is_embedded("product"):
        return Absent("the products are not embedded", run.command("embed"))
    ids, vectors = run.vectors.entities("product")
    if len(ids) < 4:
        return Absent(f"{len(ids)} products are no space to draw")
    fields = run.texts.fields("product")
    with_images = np.array([fields.num_images[fields.rows[one]] > 0 for one in ids])
    rows = sampled(with_images, run.seed)
    chosen, sample = [str(one) for one in ids[rows]], np.asarray(vectors[rows], np.float32)
    places = tsne(sample)
    column, kinds = kinds_of(fields, chosen)
    pictures = {}
    for one, paths in run.pictures.paths("product", chosen).items():
        if (picture := run.pictures.first(paths, SIDE)) is not None:
            pictures[one] = picture
    sheet, squares = sprite(pictures, SIDE) if pictures else (None, {})
    xs, ys, height = on_board(places)
    names = [kind for kind, _ in Counter(kinds).most_common() if kind != OTHER]
    names += [OTHER] if OTHER in kinds else []
    label = (
        f"{len(chosen):,} of {len(ids):,} products on a plane: those near each other have similar "
        "embeddings" + (f"; marks tell the {column.replace('_', ' ')}." if column else ".")
    )
    titles = run.texts.titles("product", chosen)
    return {
        "map": _marks(xs, ys, height, [names.index(kind) for kind in kinds], names, label),
        "pictures": _collage(xs, ys, height, chosen, pictures) if pictures else None,
        "label": label,
        "points": [
            [round(float(x)), round(float(y)), title or one, kind, squares.get(one, -1)]
            for x, y, title, one, kind in zip(xs, ys, titles, chosen, kinds, strict=True)
        ],
        "sprite": data_uri(sheet) if sheet else "",
        "side": SIDE,
        "size": SIZE,
        "legend": [(series_key(n, line=False), kind) for n, kind in enumerate(names)]
        if column
        else [],
        "column": column,
        "count": len(chosen),
        "of": len(ids),
        "with_pictures": len(pictures),
        "seed": run.seed,
        "kept": neighbours_kept(sample, places),
        "chance": min(10, len(chosen) - 1) / (len(chosen) - 1),
    }


def sampled(with_images: np.ndarray, seed: int, number: int = POINTS) -> np.ndarray:
    """Rows of the products that are drawn, ascending.

    Those with images first, up to half of the sample, as a map is read by its pictures; then
    the rest of all kinds alike.

    Args:
        with_images: bool `[n]`.
        seed: of the draw.
        number: of rows; all where there are no more.
    """
    if len(with_images) <= number:
        return np.arange(len(with_images))
    order = np.random.default_rng(seed).permutation(len(with_images))
    pictured = order[with_images[order]][: number // 2]
    rest = order[~np.isin(order, pictured)][: number - len(pictured)]
    return np.sort(np.concatenate([pictured, rest]))


def kinds_of(fields: CatalogueFields, ids: Sequence[str]) -> tuple[str | None, list[str]]:
    """The column that tells kinds apart, and the kind of each: frequent values, or `OTHER`.

    The first of `KIND_COLUMNS` that most of the products have, with two values or more; of
    `Home > Sofas` the part that comes first where it tells two apart, else the whole.
    """
    rows = [fields.rows[one] for one in ids]
    for column in (name for name in KIND_COLUMNS if name in fields.texts):
        values = [fields.texts[column][row].strip() for row in rows]
        if values.count("") > MOST_ABSENT * len(values):
            continue
        for depth in (1, 2, 3):
            parts = [" > ".join(part.strip() for part in v.split(">")[:depth]) for v in values]
            counts = Counter(part for part in parts if part)
            if len(counts) > 1:
                kept = {kind for kind, _ in counts.most_common(KINDS)}
                return column, [part if part in kept else OTHER for part in parts]
    return None, [OTHER] * len(ids)


def on_board(places: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Places `[n, 2]` as x and y of a drawing, both to one scale, and its height.

    The longer side lies across.
    """
    spread = places.max(axis=0) - places.min(axis=0)
    wide = places if spread[0] >= spread[1] else places[:, ::-1]
    moved = wide - wide.min(axis=0)
    reach = max(float(spread.max()), 1e-9)
    scale = Scale(0.0, reach, EDGE, SIZE - EDGE)
    xs, ys = (np.array([scale(float(value)) for value in moved[:, axis]]) for axis in (0, 1))
    return xs, ys, float(ys.max()) + EDGE


def _marks(
    xs: np.ndarray,
    ys: np.ndarray,
    height: float,
    series: Sequence[int],
    names: Sequence[str],
    label: str,
) -> Markup:
    drawing = Drawing(SIZE, height, label)
    drawing.root.attrib.update({"id": "space", "tabindex": "0"})
    for x, y, number in zip(xs, ys, series, strict=True):
        drawing.mark(
            float(x), float(y), number, 4.2, "rest" if names[number:] == [OTHER] and number else ""
        )
    drawing.add("circle", "ring", id="space-ring", cx=-20, cy=-20, r=9)
    return drawing.markup()


def _collage(
    xs: np.ndarray, ys: np.ndarray, height: float, ids: Sequence[str], pictures: Any
) -> dict[str, Any]:
    """Pictures where there is room for them, in the order of the sample."""
    label = "The same plane with pictures at the places of some of the products."
    drawing = Drawing(SIZE, height, label)
    for x, y in zip(xs, ys, strict=True):
        drawing.add("circle", "faint", cx=float(x), cy=float(y), r=1.6)
    taken: list[tuple[float, float]] = []
    for x, y, one in zip(xs, ys, ids, strict=True):
        near = any(max(abs(x - a), abs(y - b)) < SHOWN for a, b in taken)
        if one not in pictures or near:
            continue
        taken.append((x, y))
        small = pictures[one].copy()
        small.thumbnail((SIDE, SIDE))
        left, top = float(x) - SHOWN / 2, float(y) - SHOWN / 2
        drawing.add("image", href=data_uri(small), x=left, y=top, width=SHOWN, height=SHOWN)
    return {"chart": drawing.markup(), "label": label, "count": len(taken)}
