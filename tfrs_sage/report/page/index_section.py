"""How the index trades recall for speed."""

from collections.abc import Mapping, Sequence
from typing import Any

from tfrs_sage.artefacts import MANIFEST, read_manifest
from tfrs_sage.report.page.charts import Line, line_chart
from tfrs_sage.report.page.material import Absent, Material
from tfrs_sage.report.page.svg import series_key

COMPARISON = "index-compare"


def index_section(run: Material) -> dict[str, Any] | Absent:
    """What the run's index measured of itself, and every kind beside it where they were built."""
    folder = run.path / "index" / "product"
    if not (folder / MANIFEST).is_file():
        return Absent("the run has no index", run.command("index"))
    manifest = read_manifest(folder)
    compared = run.metrics(COMPARISON)
    kinds = [row for row in compared.get("kinds", []) if "failed" not in row]
    return {
        "facts": _facts(manifest),
        "kinds": compared.get("kinds", []),
        **_chart(kinds),
        "legend": [(series_key(n), row["kind"]) for n, row in enumerate(kinds)],
        "command": run.command("index", "--compare"),
    }


def _facts(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the index says of itself; exact ones measure no recall."""
    report = manifest["report"]
    facts = {"kind": manifest["kind"], "products": f"{manifest['count']:,}"}
    facts["components"] = str(manifest["dimension"])
    if "recall_target" in report:
        facts["recall asked for"] = str(report["recall_target"])
    for depth, value in report.get("recall", {}).items():
        facts[f"recall{depth} against exact search"] = f"{value:.4f}"
    if "queries_per_second" in report:
        facts["queries a second, as built"] = f"{report['queries_per_second']:,}"
    facts |= {name: str(value) for name, value in report.get("parameters", {}).items()}
    return list(facts.items())


def _chart(kinds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Recall@10 over the speed, one mark a kind, or a line where a kind has several settings."""
    if not kinds:
        return {"chart": None, "label": ""}
    lines = []
    for number, row in enumerate(kinds):
        points = row.get("curve") or [row]
        points = sorted(points, key=lambda one: one["queries_per_second"])
        speeds = [one["queries_per_second"] for one in points]
        lines.append(Line(row["kind"], speeds, [one["recall@10"] for one in points], number))
    label = "Recall@10 against exact search over queries a second: " + ", ".join(
        f"{row['kind']} as chosen {row['recall@10']:.3f} at {row['queries_per_second']:,.0f}"
        for row in kinds
    )
    chart = line_chart(lines, label, "queries a second, one core", "recall@10", log_x=True)
    return {"chart": chart, "label": label}
