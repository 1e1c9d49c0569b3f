"""The index section: of an exact index, and of kinds with curves."""

from tfrs_sage.artefacts import write_json
from tfrs_sage.report.page.index_section import index_section
from tfrs_sage.report.page.material import Absent, Material


def test_an_exact_index_has_no_recall_and_a_comparison_is_drawn(tmp_path) -> None:
    run = Material(tmp_path, tmp_path / "saved_models", None)
    assert isinstance(index_section(run), Absent)
    manifest = {"kind": "brute_force", "count": 1234, "dimension": 8, "report": {"prefix": None}}
    write_json(tmp_path / "index" / "product" / "manifest.json", manifest)
    found = index_section(run)
    assert found["facts"] == [("kind", "brute_force"), ("products", "1,234"), ("components", "8")]
    assert found["chart"] is None
    curve = [
        {"recall@10": 0.8, "queries_per_second": 900},
        {"recall@10": 0.99, "queries_per_second": 200},
    ]
    kinds = [
        {"kind": "brute_force", "recall@10": 1.0, "queries_per_second": 100, "curve": []},
        {"kind": "scann", "failed": "not here"},
        {"kind": "partitioned", "recall@10": 0.95, "queries_per_second": 500, "curve": curve},
    ]
    write_json(tmp_path / "metrics" / "index-compare.json", {"kinds": kinds})
    report = {"recall_target": 0.95, "recall": {"@10": 0.9612}, "queries_per_second": 5000}
    write_json(
        tmp_path / "index" / "product" / "manifest.json",
        {**manifest, "kind": "partitioned", "report": {**report, "parameters": {"blocks": 7}}},
    )
    found = index_section(run)
    assert dict(found["facts"])["recall@10 against exact search"] == "0.9612"
    assert dict(found["facts"])["blocks"] == "7"
    assert [name for _, name in found["legend"]] == ["brute_force", "partitioned"]
    assert "partitioned as chosen 0.950 at 500" in found["label"]
    assert str(found["chart"]).count("<path") >= 2
