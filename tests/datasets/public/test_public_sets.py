"""Each public set from a hand-made sample of its own format: rows worked out by hand, valid."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.datasets.public import samples
from tfrs_sage.cli.dataset import PUBLIC
from tfrs_sage.cli.main import main
from tfrs_sage.datasets.public import SETS, convert
from tfrs_sage.datasets.public.source import hashed_split
from tfrs_sage.errors import InputError
from tfrs_sage.evaluation.judgments import ndcg_at_k
from tfrs_sage.schema.validation import validate_tables


def made(name: str, folder: Path, **options: Any) -> dict[str, list[dict[str, Any]]]:
    """The tables that an adapter writes of a sample, which must be valid."""
    output = folder.with_name("tables")
    counts = convert(SETS[name], folder, output, options)
    report = validate_tables(str(output))
    assert report.ok and not report.warnings, (report.problems, report.warnings)
    tables = {path.stem: pq.read_table(path).to_pylist() for path in output.glob("*.parquet")}
    assert counts == {table: len(rows) for table, rows in tables.items()}
    return tables


def engaged(rows: list[dict[str, Any]]) -> list[tuple[str, str, str, str]]:
    return [(r["query_type"], r["query"], r["candidate"], r["action"]) for r in rows]


def test_esci(tmp_path: Path) -> None:
    folder = samples.write_esci(tmp_path / "files")
    tables = made("esci", folder, locale="us", small=False)
    assert [row["product_id"] for row in tables["products"]] == ["B01", "B02", "B03"]
    assert tables["products"][0] == {
        "product_id": "B01",
        "title": "Shoe & box",
        "description": "A red shoe light soft",
        "brand": "Ona",
        "color": "Red",
    }
    assert tables["products"][2]["color"] is None
    assert engaged(tables["engagements"]) == [
        ("search", "red shoe", "B01", "exact"),
        ("search", "oak desk", "B03", "substitute"),
        ("search", "oak desk", "B02", "complement"),
    ]
    split = hashed_split("red shoe", 0.05, 0.0)
    assert [row["split"] for row in tables["engagements"]] == [split, "test", "test"]
    assert [row["product_id"] for row in tables["judgments"]] == ["B01", "B02", "B03", "B02"]
    spanish = made("esci", folder, locale="es", small=False)
    assert [row["title"] for row in spanish["products"]] == ["Zapato"]
    assert engaged(spanish["engagements"]) == [("search", "zapato rojo", "B01", "exact")]


def test_esci_gains_are_those_of_its_paper(tmp_path: Path) -> None:
    folder = samples.write_esci(tmp_path / "files")
    rows = made("esci", folder, locale="us", small=False)["judgments"]
    of_desk = [row["relevance"] for row in rows if row["query"] == "oak desk"]  # S, C
    # The complement (0.01) before the substitute (0.1).
    found = ndcg_at_k(of_desk, [1.0, 2.0], 10)
    best = 0.1 + 0.01 / np.log2(3)
    assert found == pytest.approx((0.01 + 0.1 / np.log2(3)) / best)


def test_the_small_version_of_esci_has_what_it_judges(tmp_path: Path) -> None:
    tables = made("esci", samples.write_esci(tmp_path / "files"), locale="us", small=True)
    assert [row["product_id"] for row in tables["products"]] == ["B01", "B02"]
    assert {row["query"] for row in tables["judgments"]} == {"red shoe"}


def test_sqid(tmp_path: Path) -> None:
    tables = made("sqid", samples.write_sqid(tmp_path / "files"))
    first, second = tables["products"]
    assert (first["product_id"], second["product_id"]) == ("B01", "B02")
    assert first["clip_image_embedding"] == [2.0] * 768
    assert first["clip_text_embedding"] == [1.0] * 768
    assert second["clip_image_embedding"] is None
    assert second["clip_text_embedding"] == [3.0] * 768
    assert engaged(tables["engagements"]) == [("search", "red shoe", "B01", "exact")]


def test_wands(tmp_path: Path) -> None:
    tables = made("wands", samples.write_wands(tmp_path / "files"))
    bed, lamp, rug = tables["products"]
    assert bed == {
        "product_id": "0",
        "title": "solid oak bed",
        "description": "good , deep sleep. overallwidth 54. color gray. material oak",
        "google_product_category": "Furniture > Bedroom > Beds",
        "product_type": "Beds",
        "color": "gray",
        "material": "oak",
        "pattern": None,
    }
    assert lamp["description"] == 'a "soft" light for two' and rug["pattern"] == "striped"
    assert engaged(tables["engagements"]) == [
        ("search", "oak bed", "0", "exact"),
        ("search", "soft lamp", "1", "partial"),
    ]
    judged = [(r["query"], r["product_id"], r["relevance"]) for r in tables["judgments"]]
    assert judged == [("oak bed", "0", 2.0), ("oak bed", "2", 0.0), ("soft lamp", "1", 1.0)]
    by_query = {row["query"]: row["split"] for row in tables["judgments"]}
    assert all(by_query[row["query"]] == row["split"] for row in tables["engagements"])


def test_movielens_csv(tmp_path: Path) -> None:
    tables = made("movielens", samples.write_movielens_csv(tmp_path / "files"))
    titles = [(row["title"], row["product_type"]) for row in tables["products"]]
    assert titles == [
        ("Toy Story (1995)", "Animation Children"),
        ("Postino, Il (1994)", "Comedy Romance"),
        ("Über (1990)", None),
    ]
    assert engaged(tables["engagements"]) == [
        ("user", "1", "1", "view"),
        ("user", "1", "2", "like"),
        ("user", "1", "3", "love"),
        ("user", "1", "1", "like"),
        ("product", "1", "2", "next_like"),
        ("product", "2", "3", "next_love"),
        ("product", "3", "1", "next_like"),
        ("user", "2", "1", "view"),  # by time, not as the file has them
        ("user", "2", "3", "love"),
        ("product", "1", "3", "next_love"),
    ]
    splits = [row["split"] for row in tables["engagements"] if row["query"] == "1"][:4]
    assert splits == ["train"] * 4  # of four, the last begins at 75%
    assert tables["engagements"][0]["timestamp"].timestamp() == 1000


def test_movielens_splits_by_each_users_time(tmp_path: Path) -> None:
    folder = samples.write_movielens_csv(tmp_path / "files")
    lines = ["userId,movieId,rating,timestamp"] + [f"5,1,4.0,{n}" for n in range(10)]
    (folder / "ratings.csv").write_text("\n".join(lines))
    rows = made("movielens", folder)["engagements"]
    splits = [row["split"] for row in rows if row["query_type"] == "user"]
    assert splits == ["train"] * 8 + ["validation", "test"]
    (folder / "ratings.csv").write_text("\n".join([*lines, "6,1,4.0,1", "5,2,4.0,1"]))
    with pytest.raises(InputError, match="user 5 in two places"):
        convert(SETS["movielens"], folder, tmp_path / "other")


def test_movielens_of_the_older_releases(tmp_path: Path) -> None:
    tables = made("movielens", samples.write_movielens_dat(tmp_path / "1m" / "files"))
    assert tables["products"][1]["title"] == "Misérables, Les (1995)"
    assert engaged(tables["engagements"]) == [
        ("user", "1", "1", "love"),
        ("user", "1", "2", "like"),
        ("product", "1", "2", "next_like"),
    ]
    tables = made("movielens", samples.write_movielens_100k(tmp_path / "100k" / "files"))
    genres = [(row["title"], row["product_type"]) for row in tables["products"]]
    assert genres == [("Toy Story (1995)", "Action Drama"), ("Misérables, Les (1995)", None)]
    assert engaged(tables["engagements"]) == [
        ("user", "1", "2", "view"),
        ("user", "2", "2", "like"),
        ("user", "2", "1", "love"),
        ("product", "2", "1", "next_love"),
    ]


def test_retailrocket(tmp_path: Path) -> None:
    tables = made("retailrocket", samples.write_retailrocket(tmp_path / "files"))
    products = {row["product_id"]: row for row in tables["products"]}
    assert set(products) == {"355908", "248676", "318965", "99"}
    assert products["355908"]["title"] == "1116713 960601 n277.200"  # the newest
    assert products["355908"]["google_product_category"] == "1279 > 1338"
    assert products["99"]["description"] == "6618 5"
    assert engaged(tables["engagements"]) == [
        ("user", "257597", "355908", "view"),
        ("user", "257597", "248676", "addtocart"),
        ("user", "257597", "355908", "transaction"),
        ("user", "257597", "318965", "view"),  # two days later: another visit
        ("user", "992329", "248676", "view"),
        ("product", "355908", "248676", "addtocart"),
        ("product", "248676", "355908", "transaction"),
    ]
    assert tables["engagements"][0]["timestamp"].isoformat() == "2015-06-02T05:02:12.117000+00:00"


def test_hm(tmp_path: Path) -> None:
    tables = made("hm", samples.write_hm(tmp_path / "files"))
    top, shirt = tables["products"]
    assert top == {
        "product_id": "0108775015",
        "title": "Strap top",
        "description": "Jersey top, narrow straps.",
        "google_product_category": "Ladieswear > Basics > Jersey",
        "product_type": "Vest top",
        "color": "Black",
        "pattern": "Solid",
        "image_paths": ["images/010/0108775015.jpg"],
    }
    assert shirt["image_paths"] == [] and shirt["description"] is None
    assert (tmp_path / "tables" / top["image_paths"][0]).is_file()
    assert engaged(tables["engagements"]) == [
        ("user", "000058a1", "0108775015", "buy"),
        ("user", "000058a1", "0108775015", "buy"),
        ("user", "000058a1", "0110065001", "buy"),
        ("user", "00007d2d", "0108775015", "buy"),
        ("user", "00007d2d", "0110065001", "buy"),
        ("product", "0108775015", "0110065001", "bought_together"),
    ]
    assert str(tables["engagements"][3]["timestamp"].date()) == "2018-09-20"


@pytest.mark.parametrize("name", SETS)
def test_without_its_files_a_set_says_where_they_are(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = SETS[name]
    assert main(["dataset", name, f"--from={tmp_path}", f"--output={tmp_path / 'out'}"]) == 2
    told = capsys.readouterr().err
    assert one.homepage in told
    assert all(file in told for files in one.files for file in files.split(" or "))
    assert "--download" in told
    assert main(["dataset", name, f"--output={tmp_path / 'out'}"]) == 2
    assert "--from must name the folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_every_set_is_a_verb() -> None:
    assert set(SETS) == {"esci", *PUBLIC}
    assert all(one.licence and one.citation and one.name == name for name, one in SETS.items())
    assert all(one.downloads or "login" in one.login for one in SETS.values())


def test_the_verb_prints_licence_and_citation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = samples.write_wands(tmp_path / "files")
    arguments = ["dataset", "wands", f"--from={folder}", f"--out={tmp_path / 'tables'}"]
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert "licence: MIT" in told and "please cite: Chen, Liu" in told
    assert "3 products, 2 engagements, 3 judgments" in told
    assert main([*arguments, "--json"]) == 0  # over what it made itself
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == {"products": 3, "engagements": 2, "judgments": 3}
    about = json.loads((tmp_path / "tables" / "source.json").read_text())
    assert (about["set"], about["licence"]) == ("wands", "MIT")
