"""A user's actions on a plane, coloured by cluster."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfrs_sage.report.users_items import COLORS, MARKERS, Item
from tfrs_sage.users.clusters import UserClusters

NAMED = 12  # clusters with a colour and shape of their own; the others are grey
SIZE, DPI = (10.5, 6.5), 110  # inches
# Points of print: where a number may stand beside its medoid, the best first, and its own size.
SIDES = np.array(
    [(15, 8), (15, -8), (-15, 8), (-15, -8), (0, 15), (0, -15), (26, 0), (-26, 0), (24, 18)], float
)
LABEL = np.array([20.0, 11.0])
Vectors = npt.NDArray[np.floating]


def principal_components(vectors: Vectors) -> tuple[npt.NDArray[np.float64], tuple[float, float]]:
    """The plane on which the rows spread most.

    Args:
        vectors: `[m, d]`.

    Returns:
        float64 `[m, 2]`, the first two components; and their shares of the variance. The largest
        entry of each component's axis is positive, so that a picture is not mirrored by chance.
    """
    points = np.asarray(vectors, np.float64)
    points = points - points.mean(axis=0)
    _, singular, axes = np.linalg.svd(points, full_matrices=False)
    axes = axes[:2]
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
    plane = np.zeros((len(points), 2))
    plane[:, : len(axes)] = points @ (axes * signs[:, None]).T
    variance = np.concatenate([singular**2, np.zeros(2)])
    total = variance.sum()
    shares = variance[:2] / total if total > 0 else np.zeros(2)
    return plane, (float(shares[0]), float(shares[1]))


def draw_map(
    user: UserClusters, vectors: Mapping[str, Vectors], items: Mapping[str, Item], path: Path
) -> None:
    """Writes the picture as PNG.

    Every action is a point; equal items lie on one another. The `NAMED` most important clusters
    have a colour and a shape, their medoids are large and numbered as in the rows of images.

    Args:
        user: with the members of each cluster, at least one.
        vectors: of the items, by id; every member.
        items: by id; every medoid.
        path: of the PNG.
    """
    from matplotlib.figure import Figure

    members = [item for cluster in user.clusters for item in cluster.member_ids]
    plane, shares = principal_components(np.stack([vectors[item] for item in members]))
    ends = np.cumsum([cluster.size for cluster in user.clusters])
    parts = np.split(plane, ends[:-1])
    figure = Figure(figsize=SIZE, dpi=DPI, facecolor="white")
    axes = figure.add_axes((0.07, 0.09, 0.56, 0.82))
    others = np.concatenate([np.zeros((0, 2)), *parts[NAMED:]])
    if len(others):
        label = f"{len(parts) - NAMED} more clusters ({len(others)})"
        axes.scatter(others[:, 0], others[:, 1], s=14, color="#BBBBBB", label=label)
    # The most important last: on top.
    for number in reversed(range(min(NAMED, len(parts)))):
        _draw_cluster(axes, user, number, parts[number], items)
    axes.set_title(f"User {user.user_id}: {len(members)} actions by cluster", parse_math=False)
    for name, share in zip("xy", shares, strict=True):
        which = "first" if name == "x" else "second"
        axes.set(**{f"{name}label": f"{which} component ({share:.0%} of the variance)"})
    axes.margins(0.08)
    _number_medoids(axes, user, parts)
    handles, labels = axes.get_legend_handles_labels()
    legend = axes.legend(
        handles[::-1], labels[::-1], loc="upper left", bbox_to_anchor=(1.02, 1.0), frameon=False,
        fontsize=8.5, labelspacing=0.9, title="medoid (actions)", alignment="left",
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)
    figure.savefig(path)


def _draw_cluster(
    axes: Any,
    user: UserClusters,
    number: int,
    points: npt.NDArray[np.float64],
    items: Mapping[str, Item],
) -> None:
    """The points of a cluster, the large and numbered medoid over them."""
    cluster = user.clusters[number]
    style: dict[str, Any] = {
        "color": COLORS[number % len(COLORS)],
        "marker": MARKERS[number % len(MARKERS)],
    }
    title = Item(f"{items[cluster.medoid_id].title} ({cluster.size})").short_title(44, 2)
    axes.scatter(*points.T, s=34, alpha=0.75, linewidths=0, label=f"#{number + 1} {title}", **style)
    axes.scatter(
        *_medoid(user, number, points), s=150, edgecolors="white", linewidths=1.2, zorder=3, **style
    )


def _medoid(
    user: UserClusters, number: int, points: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    cluster = user.clusters[number]
    place: npt.NDArray[np.float64] = points[cluster.member_ids.index(cluster.medoid_id)]
    return place


def _number_medoids(axes: Any, user: UserClusters, parts: list[npt.NDArray[np.float64]]) -> None:
    """Numbers beside the medoids, each on the side where other numbers and medoids leave room."""
    from matplotlib.patheffects import withStroke

    places = [_medoid(user, number, points) for number, points in enumerate(parts[:NAMED])]
    on_screen = axes.transData.transform(np.array(places)) * 72 / DPI  # in points
    taken = [*on_screen]
    for number, place in enumerate(places):
        around = on_screen[number] + SIDES
        room = [
            min(float(np.abs((one - other) / LABEL).max()) for other in taken) for one in around
        ]
        best = int(np.argmax(np.minimum(room, 1.0)))
        taken.append(around[best])
        axes.annotate(
            f"#{number + 1}", place, tuple(SIDES[best]), textcoords="offset points", zorder=4,
            weight="bold", color=COLORS[number % len(COLORS)], fontsize=10, ha="center",
            va="center", path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )  # fmt: skip
