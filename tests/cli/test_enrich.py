"""`tfrs-sage enrich`: folders are made, named in the configuration, joined; towers choose texts."""

from pathlib import Path

import pytest
import yaml

from beam_pipelines.enrichment_rows import parts_of
from tests.beam_pipelines.captioners import save_tiny_captioner
from tests.beam_pipelines.tiny_tables import engagement, write_tables
from tfrs_sage.artefacts import read_manifest
from tfrs_sage.cli.main import main
from tfrs_sage.cli.run_folder import RunFolder
from tfrs_sage.errors import InputError
from tfrs_sage.schema.features import ENRICHMENTS, EntitySpec
from tfrs_sage.training.assemble import assemble
from tfrs_sage.training.config import load_config

PRODUCTS = [{"product_id": f"p{n}", "title": "sofa", "image_paths": ["a.png"]} for n in (1, 2)]
PINS = [{"pin_id": "i1", "product_id": "p1", "image_paths": ["b.png"]}]
# Too few rows for a share of 0.1 of them: all of them train.
ENGAGEMENTS = [
    engagement("search", "red sofa", "p1", None, timestamp="2026-01-01T00:00:00Z"),
    engagement("search", "a couch", "p2", None, timestamp="2026-01-03T00:00:00Z"),
    engagement("search", "cosy", "i1", None, timestamp="2026-01-03T00:00:00Z")
    | {"candidate_type": "pin"},
]


@pytest.fixture(scope="module")
def enriched(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run whose enrichments were made by the command, preprocessed."""
    folder = tmp_path_factory.mktemp("enrich")
    tables = write_tables(
        folder / "tables",
        products=PRODUCTS,
        pins=PINS,
        engagements=ENGAGEMENTS,
        boards=[{"board_id": "b1", "title": "Living Room"}],
        board_pins=[{"board_id": "b1", "pin_id": "i1"}],
    )
    save_tiny_captioner(folder / "preset")
    common = ["--input", str(tables), "--dir", str(folder / "run"), "--preset", "tiny"]
    assert main(["enrich", *common, "--captions", str(folder / "preset"), "--engaged-queries"]) == 0
    # A second time, for another enrichment: those of the first stay.
    assert main(["enrich", *common, "--board-titles", "--set", "preprocess.min_count=1"]) == 0
    config = str(folder / "run" / "config.yaml")
    assert main(["preprocess", *common, "--config", config]) == 0
    return RunFolder.open(folder / "run")


def test_the_configuration_names_the_folders(enriched: RunFolder) -> None:
    folders = enriched.config.preprocess.enrichments
    rooms = ("engaged_queries", "captions", "board_titles")
    assert folders == tuple(str(enriched.path / "enrichments" / room) for room in rooms)
    assert all(parts_of(Path(folder)) for folder in folders)
    written = yaml.safe_load((enriched.path / "config.yaml").read_text())
    assert written["preprocess"]["enrichments"] == list(folders)
    assert enriched.config.preprocess.min_count == 1
    assert enriched.config.embedding_dim == 64  # of the preset that the first command named


def test_pins_and_products_have_all_three(enriched: RunFolder) -> None:
    entities = read_manifest(enriched.path / "examples")["entities"]
    for entity in ("pin", "product"):
        assert set(ENRICHMENTS) <= set(entities[entity]["texts"])


def test_a_tower_takes_the_texts_that_are_named(enriched: RunFolder) -> None:
    settings = ["pin_tower.texts=[caption]", "product_tower.texts=[title,board_titles,brand]"]
    config = load_config("base", enriched.path / "config.yaml", settings)
    specs = assemble(enriched.path, config).specs
    assert specs["pin"].texts == ("caption",)
    assert specs["product"].texts == ("title", "board_titles")  # nobody has a brand
    wrong = load_config("base", enriched.path / "config.yaml", ["pin_tower.texts=[brand]"])
    with pytest.raises(InputError, match=r"texts of a pin are of title, .* Received: brand"):
        assemble(enriched.path, wrong)


def test_signatures_take_a_products_enrichments_where_it_has_them() -> None:
    assert len(EntitySpec("product", ("title",)).raw_texts) == 12
    found = EntitySpec("product", ("title", "caption")).raw_texts
    assert found[-1] == "caption" and len(found) == 13
    assert EntitySpec("pin", ()).raw_texts[-3:] == ENRICHMENTS


def test_preprocess_is_done_again_for_a_new_enrichment(enriched: RunFolder) -> None:
    before = enriched.inputs("preprocess")
    assert enriched.inputs("preprocess") == before
    manifest = enriched.path / "enrichments" / "captions" / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    assert enriched.inputs("preprocess") != before


def test_something_must_be_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["enrich", "--input", str(tmp_path), "--dir", str(tmp_path / "run")]) == 2
    assert "Received: none of --captions, --board-titles" in capsys.readouterr().err
