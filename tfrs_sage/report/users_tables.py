"""What `evaluate-users` prints: the table of methods, the order that must hold, the sweep."""

from typing import Any

from rich.table import Table

from tfrs_sage.users.config import ClusterConfig
from tfrs_sage.users.protocol import METRICS, SIMILAR


def told(result: dict[str, Any], config: ClusterConfig) -> list[Any]:
    """What rich prints of the comparison."""
    chance = result["catalogue"]["similar_share"]
    return [
        methods_table(result, config),
        order_table(result),
        f"By chance: {chance:.1%} of the pairs of items are alike (cosine of at least {SIMILAR}).",
        *(path for paths in result.get("pictures", {}).values() for path in paths),
    ]


def label_of(name: str, config: ClusterConfig) -> str:
    """A method as the table names it."""
    known = {
        "kmeans": f"k-means, k = {config.num_clusters}",
        "centroid": "centroids for medoids",
        "pinnersage": f"PinnerSage: lambda {config.decay:g}, {config.num_samples} drawn",
        "oracle": "oracle (sees the future)",
    }
    start, _, number = name.partition("_")
    if start == "decay" and number:
        return f"lambda {number}"
    if start == "sample":
        return f"{number} drawn"
    return known.get(name, name.replace("_", " "))


def methods_table(result: dict[str, Any], config: ClusterConfig) -> Table:
    """Every method: each metric with its interval, below it the lift over the last item."""
    title = f"split {result['split']}: {result['num_users']} users, 95% intervals, lift over last"
    table = Table(title=f"{title} item", show_lines=True)
    for heading in ("method", *(name.replace("_", " ") for name in METRICS), "clusters"):
        table.add_column(heading, justify="left" if heading == "method" else "right")
    for name, one in result["methods"].items():
        cells = []
        for metric in METRICS:
            found, lift = one[metric], one[metric]["lift"]
            cell = f"{found['mean']:.3f} ({found['low']:.3f} to {found['high']:.3f})"
            if lift is not None and name != "last_item":
                cell += f"\n{lift['mean']:+.0%} ({lift['low']:+.0%} to {lift['high']:+.0%})"
            cells.append(cell)
        table.add_row(label_of(name, config), *cells, f"{one['num_clusters']:.1f}")
    return table


def order_table(result: dict[str, Any]) -> Table:
    """Whether each method is above what it should be above: differences of the same users."""
    table = Table(title="differences of the same users, 95% intervals")
    table.add_column("difference")
    for metric in result["order"]:
        table.add_column(metric.replace("_", " "), justify="right")
    for name in next(iter(result["order"].values())):
        cells = []
        for metric in result["order"].values():
            one = metric[name]
            sign = "above" if one["low"] > 0 else "below" if one["high"] < 0 else "no telling"
            cells.append(f"{one['mean']:+.4f} ({one['low']:+.4f} to {one['high']:+.4f}) {sign}")
        table.add_row(name.replace("_", " "), *cells)
    return table


def sweep_table(result: dict[str, Any]) -> Table:
    """Each threshold's relevance, recall and clusters; the chosen one marked."""
    table = Table(title=f"split {result['split']}: {result['num_users']} users, 95% intervals")
    headings = ("threshold", "relevance", "recall", "geometric mean", "clusters", "10% 50% 90%")
    for heading in headings:
        table.add_column(heading, justify="right")
    for one in result["thresholds"]:
        cells = [
            "{:.3f} ({:.3f} to {:.3f})".format(*one[metric]) for metric in ("relevance", "recall")
        ]
        mark = " *" if one["threshold"] == result["chosen"] else "  "
        quantiles = " ".join(f"{number:.0f}" for number in one["clusters_quantiles"])
        mean = f"{one['geometric_mean']:.3f}"
        clusters = f"{one['clusters'][0]:.1f}"
        table.add_row(f"{one['threshold']:g}{mark}", *cells, mean, clusters, quantiles)
    return table
