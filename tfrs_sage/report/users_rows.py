"""A user's clusters as rows of item images, the medoid first and framed."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfrs_sage.report.users_items import COLORS, Item
from tfrs_sage.users.clusters import Cluster, UserClusters

ROWS, COLUMNS = 8, 8  # clusters, and items of each, that are shown
LEAST_COLUMNS = 4  # for the heading
DPI = 110
# Inches: a cell, of which the lower part is for the title, and the margins.
CELL_WIDTH, CELL_HEIGHT, TITLE_HEIGHT, GAP = 1.15, 1.75, 0.40, 0.10
LABEL_WIDTH, TOP = 1.75, 0.75


def draw_rows(user: UserClusters, items: Mapping[str, Item], path: Path) -> None:
    """Writes the picture as PNG.

    The most important clusters come first, `ROWS` of them; in a row the medoid, then the other
    items, the newest first, `COLUMNS` in all. An item acted on many times stands once.

    Args:
        user: with the members of each cluster.
        items: by id; every member.
        path: of the PNG, `ROWS` and `COLUMNS` deciding its size.
    """
    from matplotlib.figure import Figure

    shown = user.clusters[:ROWS]
    widest = max((min(COLUMNS, len(set(one.member_ids))) for one in shown), default=1)
    width = LABEL_WIDTH + max(widest, LEAST_COLUMNS) * (CELL_WIDTH + GAP) + 0.55
    height = TOP + len(shown) * (CELL_HEIGHT + GAP) + 0.1
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    left_out = len(user.clusters) - len(shown)
    about = f"{_number(user.num_actions, 'action')}, {_number(len(user.clusters), 'cluster')}"
    _text(figure, 0.1, height - 0.25, f"User {user.user_id}: {about}", size=12, weight="bold")
    note = f"The {len(shown)} most important clusters. " if left_out else ""
    note += "The framed item is the medoid; the others follow, the newest first."
    _text(figure, 0.1, height - 0.5, note, size=9)
    total = sum(one.importance for one in user.clusters)
    for row, cluster in enumerate(shown):
        top = height - TOP - row * (CELL_HEIGHT + GAP)
        _draw_row(figure, cluster, row, top, items, cluster.importance / total if total else 0.0)
    figure.savefig(path)


def ordered_members(cluster: Cluster) -> list[tuple[str, int]]:
    """Different items with the number of actions on each: the medoid, then the newest first."""
    counts = Counter(cluster.member_ids)
    newest = dict.fromkeys([cluster.medoid_id, *reversed(cluster.member_ids)])
    return [(item, counts[item]) for item in newest]


def _draw_row(
    figure: Any, cluster: Cluster, row: int, top: float, items: Mapping[str, Item], share: float
) -> None:
    color = COLORS[row % len(COLORS)]
    middle = top - (CELL_HEIGHT - TITLE_HEIGHT) / 2
    _text(figure, 0.1, middle + 0.2, f"#{row + 1}", size=15, weight="bold", color=color)
    words = [
        _number(cluster.size, "action"),
        f"importance {cluster.importance:.2f}",
        f"({share:.0%} of all)",
    ]
    _text(figure, 0.1, middle + 0.1, "\n".join(words), size=9, va="top", linespacing=1.35)
    members = ordered_members(cluster)
    for column, (item, count) in enumerate(members[:COLUMNS]):
        left = LABEL_WIDTH + column * (CELL_WIDTH + GAP)
        _draw_item(figure, items[item], count, left, top, color if column == 0 else None)
    if len(members) > COLUMNS:
        left = LABEL_WIDTH + COLUMNS * (CELL_WIDTH + GAP)
        _text(figure, left, middle, f"+{len(members) - COLUMNS}", size=11, va="center")


def _draw_item(
    figure: Any, item: Item, count: int, left: float, top: float, frame: str | None
) -> None:
    """The image in the upper part of its cell, or the title in place of one."""
    width, height = figure.get_size_inches()
    side = CELL_HEIGHT - TITLE_HEIGHT
    axes = figure.add_axes((left / width, (top - side) / height, CELL_WIDTH / width, side / height))
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color=frame or "#B0B0B0", linewidth=4 if frame else 0.6)
    axes.set_anchor("S")
    if count > 1:
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5}
        place = {"transform": axes.transAxes, "ha": "right", "va": "top"}
        axes.text(0.92, 0.93, f"×{count}", size=8, weight="bold", bbox=box, zorder=3, **place)
    if item.pixels is not None:
        axes.imshow(item.pixels, interpolation="lanczos", aspect="equal")
        title, below = item.short_title(19, 2), top - side - 0.07
        _text(figure, left + CELL_WIDTH / 2, below, title, size=7.5, ha="center", va="top")
        return
    axes.set_facecolor("#F2F2F2")
    style = {"transform": axes.transAxes, "ha": "center", "va": "center", "parse_math": False}
    axes.text(0.5, 0.5, item.short_title(14, 6), size=8.5, **style)


def _text(figure: Any, left: float, bottom: float, text: str, **style: Any) -> None:
    """Text at a place in inches; a dollar sign is a dollar sign."""
    width, height = figure.get_size_inches()
    figure.text(left / width, bottom / height, text, parse_math=False, **style)


def _number(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
