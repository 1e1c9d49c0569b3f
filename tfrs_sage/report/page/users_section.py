"""Users' interests: how many clusters they have, how good they are, and what they hold."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from PIL import Image

from tfrs_sage.artefacts import MANIFEST, read_manifest
from tfrs_sage.report.page.charts import Row, histogram, interval_rows
from tfrs_sage.report.page.material import Absent, Material
from tfrs_sage.report.page.pictures import data_uri
from tfrs_sage.report.users_tables import label_of

SHOWN, CLUSTERS, SIDE, WIDEST = 3, 8, 112, 900
MOST_BARS = 20
METRICS = ("recall", "relevance")


def users_section(run: Material) -> dict[str, Any] | Absent:
    """Clusters a user, three users' medoids, the comparison of methods, pictures that are there."""
    folder = run.path / "users" / "batch"
    evaluated = run.metrics(f"evaluate-users-{run.split}")
    pictures = sorted((run.path / "report" / "users").glob("*.png"))
    if not (folder / MANIFEST).is_file():
        if not evaluated:
            return Absent("no users were clustered", run.command("cluster-users"))
        batch = None
    else:
        batch = _batch(run, folder)
    return {
        "batch": batch,
        "methods": _methods(run, evaluated) if evaluated else None,
        "evaluated": evaluated,
        "command": run.command("evaluate-users", "--split", run.split),
        "pictures": [{"name": path.stem, "uri": _smaller(path)} for path in pictures],
    }


def _batch(run: Material, folder: Path) -> dict[str, Any]:
    """The histogram, and the users of the most, a median number and the fewest clusters."""
    sizes: list[tuple[int, int, str]] = []
    for path in sorted(folder.glob("part-*.parquet")):
        table = pq.read_table(path, columns=["user_id", "num_actions", "clusters"])
        lengths = table["clusters"].combine_chunks().value_lengths().to_pylist()
        users = zip(
            lengths, table["num_actions"].to_pylist(), table["user_id"].to_pylist(), strict=True
        )
        sizes += [(-clusters, -actions, user) for clusters, actions, user in users]
    sizes.sort()
    counts = Counter(-clusters for clusters, _, _ in sizes)
    bars = {
        str(number): float(counts.get(number, 0))
        for number in range(1, min(max(counts), MOST_BARS) + 1)
    }
    more = sum(count for number, count in counts.items() if number > MOST_BARS)
    if more:
        bars[f">{MOST_BARS}"] = float(more)
    middle = -sizes[len(sizes) // 2][0]
    label = (
        f"Clusters of each of {len(sizes):,} users: {middle} at the median, {-sizes[0][0]} at most."
    )
    fewest = next(one for one in sizes if one[0] == sizes[-1][0])
    chosen = list(dict.fromkeys(one[2] for one in (sizes[0], sizes[len(sizes) // 2], fewest)))
    return {
        "chart": histogram(bars, label, "clusters", "users"),
        "label": label,
        "users": _users(run, folder, chosen[:SHOWN]),
        "manifest": read_manifest(folder),
        "count": len(sizes),
    }


def _users(run: Material, folder: Path, chosen: list[str]) -> list[dict[str, Any]]:
    """Medoids of the most important clusters of some users."""
    rows: dict[str, Mapping[str, Any]] = {}
    for path in sorted(folder.glob("part-*.parquet")):
        table = pq.read_table(path, filters=[("user_id", "in", chosen)])
        rows |= {row["user_id"]: row for row in table.to_pylist()}
    medoids = sorted(
        {one["medoid_id"] for row in rows.values() for one in row["clusters"][:CLUSTERS]}
    )
    fields = run.texts.fields("product")
    pictures = run.pictures.thumbnails("product", medoids, SIDE)
    return [
        {
            "user": user,
            "actions": rows[user]["num_actions"],
            "clusters": len(rows[user]["clusters"]),
            "shown": [
                {
                    "title": fields.title(one["medoid_id"])
                    if one["medoid_id"] in fields.rows
                    else one["medoid_id"],
                    "picture": pictures.get(one["medoid_id"]),
                    "size": one["size"],
                    "share": one["importance"] / total if total else 0.0,
                }
                for one in rows[user]["clusters"][:CLUSTERS]
            ],
        }
        for user in chosen
        if (total := sum(one["importance"] for one in rows[user]["clusters"])) is not None
    ]


def _methods(run: Material, evaluated: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A chart a metric: every method with its interval."""
    charts = []
    for metric in METRICS:
        rows = [
            Row(
                label_of(name, run.config.users).partition(":")[0],
                one[metric]["mean"],
                one[metric]["low"],
                one[metric]["high"],
                0 if name == "pinnersage" else 1,
            )
            for name, one in evaluated["methods"].items()
        ]
        label = (
            f"{metric.capitalize()} of what users did next, by method, with 95% intervals: "
            + ", ".join(f"{row.label} {row.told}" for row in rows)
        )
        charts.append({"name": metric, "chart": interval_rows(rows, label)})
    return charts


def _smaller(path: Path) -> str:
    """A picture that another command drew, no wider than the page."""
    with Image.open(path) as picture:
        small = picture.convert("RGB")
        small.thumbnail((WIDEST, WIDEST * 2), Image.Resampling.LANCZOS)
        return data_uri(small)
