"""The written marketplace: same bytes, whole tables, a funnel, a head and a tail."""

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tfrs_sage.datasets.marketplace import write as write_module
from tfrs_sage.datasets.marketplace import write_marketplace
from tfrs_sage.errors import InputError
from tfrs_sage.schema.validation import validate_tables
from tfrs_sage.vision import ImageSource

ACTIONS = ("click", "save", "add_to_cart", "checkout")


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def rows(folder: Path, table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(folder / f"{table}.parquet").to_pylist()
    return found


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("shop") / "tables"
    write_marketplace(folder, num_products=300, seed=3)
    yield folder


def test_the_projects_own_validation_finds_nothing(shop: Path) -> None:
    report = validate_tables(str(shop))
    assert report.ok
    assert not report.problems
    assert not report.warnings
    assert report.rows == {
        name: count
        for name, count in json.loads((shop / "marketplace.json").read_text())["counts"].items()
        if name != "images"
    }


def test_ids_are_unique_references_exist_images_open(shop: Path) -> None:
    products = {row["product_id"]: row for row in rows(shop, "products")}
    pins = {row["pin_id"]: row for row in rows(shop, "pins")}
    assert len(products) == 300
    assert len(pins) == 180
    boards = {row["board_id"] for row in rows(shop, "boards")}
    for row in rows(shop, "board_pins"):
        assert row["board_id"] in boards
        assert row["pin_id"] in pins
    for row in rows(shop, "engagements"):
        known = {"product": products, "pin": pins}
        if row["candidate_type"] != "query":
            assert row["candidate"] in known[row["candidate_type"]]
        if row["query_type"] in known:
            assert row["query"] in known[row["query_type"]]
    source = ImageSource(str(shop))
    for row in [*products.values(), *pins.values()]:
        for path in row["image_paths"]:
            with Image.open(io.BytesIO(source.read(path))) as picture:
                assert picture.size == (96, 96)
                assert picture.format == "JPEG"


def test_image_counts(shop: Path) -> None:
    counts = Counter(len(row["image_paths"]) for row in rows(shop, "products"))
    assert set(counts) == {0, 1, 2, 3, 4}
    assert counts[1] > counts[2] > counts[4] > counts[0]


def test_column_types(shop: Path) -> None:
    schema = pq.read_schema(shop / "engagements.parquet")
    assert schema.field("timestamp").type == pa.timestamp("us", tz="UTC")
    assert "split" not in schema.names
    assert pq.read_schema(shop / "products.parquet").field("image_paths").type == pa.list_(
        pa.string()
    )


def test_each_step_of_each_funnel_is_rarer_than_the_one_before(shop: Path) -> None:
    counts = Counter(
        (row["query_type"], row["candidate_type"], row["action"])
        for row in rows(shop, "engagements")
    )
    for query_type in ("search", "pin", "product", "user"):
        steps = [counts[query_type, "product", action] for action in ACTIONS]
        assert steps == sorted(steps, reverse=True)
        assert 0 < steps[-1] < steps[0] / 4
    assert counts["search", "pin", "click"] > counts["search", "pin", "save"] > 0
    assert ("search", "pin", "checkout") not in counts
    assert counts["search", "query", "click"] > 0


def test_a_later_action_follows_its_click(shop: Path) -> None:
    clicks: dict[tuple[str, str], list[datetime]] = {}
    log = rows(shop, "engagements")
    for row in log:
        if row["action"] == "click":
            clicks.setdefault((row["query"], row["candidate"]), []).append(row["timestamp"])
    for row in log:
        if row["action"] != "click":
            assert min(clicks[row["query"], row["candidate"]]) < row["timestamp"]


def test_times_fill_the_days_before_the_end(shop: Path) -> None:
    times = [row["timestamp"] for row in rows(shop, "engagements")]
    end = datetime(2026, 1, 1, tzinfo=UTC)
    ages = [(end - time).total_seconds() / 86400 for time in times]
    assert max(ages) <= 90
    assert min(ages) > -1  # a checkout may come a little after the last search
    per_third = Counter(int(age // 30) for age in ages)
    assert min(per_third[third] for third in range(3)) > len(times) / 6


def test_searches_have_a_head_and_a_tail(shop: Path) -> None:
    events = {(row["query"], row["timestamp"]) for row in rows(shop, "engagements")
              if row["query_type"] == "search" and row["action"] == "click"}  # fmt: skip
    counts = Counter(query for query, _ in events)
    once = sum(count == 1 for count in counts.values())
    top = sum(count for _, count in counts.most_common(len(counts) // 20))
    assert once / len(counts) > 0.2
    assert top / len(events) > 0.25


def test_users_have_histories_of_many_lengths(shop: Path) -> None:
    history = Counter(
        row["query"] for row in rows(shop, "engagements") if row["query_type"] == "user"
    )
    lengths = sorted(history.values())
    assert len(history) >= 55  # of 60
    assert lengths[-1] > 4 * lengths[len(lengths) // 4]


def test_same_seed_same_bytes_another_seed_other_bytes(tmp_path: Path) -> None:
    write_marketplace(tmp_path / "a", num_products=60, seed=5)
    write_marketplace(tmp_path / "b", num_products=60, seed=5)
    write_marketplace(tmp_path / "c", num_products=60, seed=6)
    first, second, other = (digests(tmp_path / name) for name in "abc")
    assert first == second
    assert first["products.parquet"] != other["products.parquet"]
    assert first["engagements.parquet"] != other["engagements.parquet"]


def test_tar_shards_from_two_processes_hold_the_same_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_marketplace(tmp_path / "files", num_products=60, seed=5)
    monkeypatch.setattr(write_module, "FILES_UP_TO", 10)
    monkeypatch.setattr(write_module, "PICTURES_PER_SHARD", 50)
    write_marketplace(tmp_path / "one", num_products=60, seed=5, num_processes=1)
    write_marketplace(tmp_path / "two", num_products=60, seed=5, num_processes=2)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    assert {p.name for p in (tmp_path / "one").glob("*.tar")} >= {
        "images-000.tar",
        "images-001.tar",
    }
    assert not (tmp_path / "one" / "images").exists()
    files, tars = ImageSource(str(tmp_path / "files")), ImageSource(str(tmp_path / "one"))
    for row in rows(tmp_path / "one", "products"):
        for path in row["image_paths"]:
            assert files.read(path) == tars.read(path)


def test_only_a_marketplace_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"Found: .*mine, which holds something else"):
        write_marketplace(tmp_path / "mine", num_products=50)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    write_marketplace(tmp_path / "shop", num_products=50)
    write_marketplace(tmp_path / "shop", num_products=51)
    assert len(rows(tmp_path / "shop", "products")) == 51


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_products": 10}, "at least 50. Received: 10"),
        ({"seed": -1}, "Received: -1"),
        ({"hidden_share": 1.5}, "Received: 1.5"),
        ({"end": datetime(2026, 1, 1)}, "time zone"),
    ],
)
def test_arguments_out_of_range(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_marketplace(tmp_path / "x", **arguments)
