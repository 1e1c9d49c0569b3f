"""Captions: of the first image, once each however often the job is killed, broken ones told."""

import io
import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import keras_hub
import numpy as np
import pytest
from PIL import Image

from beam_pipelines.caption_handler import CaptionHandler
from beam_pipelines.captions import UNFINISHED, captions, run
from tests.beam_pipelines.captioners import ColourCaptioner, save_tiny_captioner
from tests.beam_pipelines.enriched import enrichment_rows
from tests.beam_pipelines.tiny_tables import picture, write_tables
from tfrs_sage.artefacts import read_manifest
from tfrs_sage.errors import InputError

ROOT = Path(__file__).parents[2]
PRODUCTS = [  # a.png is red, b.png blue
    {"product_id": "p1", "image_paths": ["a.png", "b.png"]},
    {"product_id": "p2", "image_paths": ["b.png"]},
    {"product_id": "p3"},
]
PINS = [{"pin_id": "i1", "image_paths": ["a.png"]}]


def seen(log: Path) -> Counter[str]:
    return Counter(log.read_text().split("\n")[:-1])


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    return write_tables(tmp_path / "t", products=PRODUCTS, pins=PINS)


def test_each_first_image_has_its_caption(tmp_path: Path, tables: Path) -> None:
    log = tmp_path / "log"
    summary = captions(str(tables), tmp_path / "out", ColourCaptioner(str(log)))
    rows = enrichment_rows(tmp_path / "out" / "captions")
    assert {key: row["caption"] for key, row in rows.items()} == {
        ("product", "p1"): "a red picture",
        ("product", "p2"): "a blue picture",
        ("pin", "i1"): "a red picture",
    }
    assert rows["product", "p1"]["images"] == ["a.png"]
    assert (summary["captioned"], summary["reused"], summary["without_image"]) == (3, 0, 1)
    assert seen(log) == {"loaded": 1, "a red picture": 2, "a blue picture": 1}
    assert not (tmp_path / "out" / UNFINISHED).exists()


def test_several_images_are_one_text(tmp_path: Path) -> None:
    products = [{"product_id": "p1", "image_paths": ["b.png", "a.png", "b.png", "c.png"]}]
    tables = write_tables(tmp_path / "t", products=products)
    (tables / "c.png").write_bytes(picture((0, 0, 0)))  # of which nothing is said
    captions(str(tables), tmp_path / "out", ColourCaptioner(str(tmp_path / "log")), images=4)
    (row,) = enrichment_rows(tmp_path / "out" / "captions").values()
    assert row["caption"] == "a blue picture. a red picture"
    assert row["captions"] == ["a blue picture", "a red picture", "a blue picture", ""]
    with pytest.raises(InputError, match=r"within 1..20. Received: 0"):
        captions(str(tables), tmp_path / "out", ColourCaptioner(""), images=0)


def test_broken_images_are_told(tmp_path: Path) -> None:
    products = [*PRODUCTS, {"product_id": "p4", "image_paths": ["broken.png"]}]
    pins = [*PINS, {"pin_id": "i2", "image_paths": ["absent.png"]}]
    tables = write_tables(tmp_path / "t", products=products, pins=pins)
    handler = ColourCaptioner(str(tmp_path / "log"))
    with pytest.raises(InputError, match=r"table products may be rejected. Found: 1 of 4"):
        captions(str(tables), tmp_path / "out", handler)
    assert not (tmp_path / "out" / "captions").exists()
    # What was captioned is not lost by that.
    summary = captions(str(tables), tmp_path / "out", handler, max_reject_share=0.5)
    assert (summary["captioned"], summary["reused"]) == (0, 3)
    assert summary["rejected"] == {"products": 1, "pins": 1}
    rejects = tmp_path / "out" / "rejects" / "captions"
    for table, row, path in (("products", 4, "broken.png"), ("pins", 2, "absent.png")):
        reject = json.loads((rejects / f"{table}.jsonl").read_text())
        assert reject["row"] == row and reject["found"].startswith(path)


def test_a_killed_job_goes_on_where_it_was(tmp_path: Path) -> None:
    products = [{"product_id": f"p{n:02}", "image_paths": [f"{n}.png"]} for n in range(20)]
    tables = write_tables(tmp_path / "t", products=products)
    colours = ("red", "green", "blue")
    for number in range(20):
        rgb = [200 if place == number % 3 else 10 for place in range(3)]
        (tables / f"{number}.png").write_bytes(picture((rgb[0], rgb[1], rgb[2])))
    output, first, second = tmp_path / "out", tmp_path / "first", tmp_path / "second"
    program = "tests.beam_pipelines.captioners"
    killed = subprocess.run(
        [sys.executable, "-m", program, str(tables), str(output), str(first), "10"],
        cwd=ROOT,
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]
    assert not (output / "captions").exists()
    assert sum(seen(first).values()) == 1 + 10
    # Another model may not go on with the captions of the first.
    with pytest.raises(InputError, match="by the model that began them"):
        captions(str(tables), output, ColourCaptioner(str(second), name="others"))
    summary = captions(str(tables), output, ColourCaptioner(str(second)))
    # Saved by fours: 8 of the 10 were safe, the other 12 are captioned now.
    assert (summary["captioned"], summary["reused"]) == (12, 8)
    assert sum(seen(second).values()) == 1 + 12
    rows = enrichment_rows(output / "captions")
    assert {key[1]: row["caption"] for key, row in rows.items()} == {
        f"p{n:02}": f"a {colours[n % 3]} picture" for n in range(20)
    }
    assert not (output / UNFINISHED).exists()


def test_a_finished_folder_is_taken_up_by_the_same_model(tmp_path: Path, tables: Path) -> None:
    output, log = tmp_path / "out", tmp_path / "log"
    captions(str(tables), output, ColourCaptioner(str(log)))
    grown = write_tables(
        tmp_path / "grown",
        products=[*PRODUCTS, {"product_id": "p9", "image_paths": ["b.png"]}],
        pins=[{"pin_id": "i1", "image_paths": ["b.png"]}],  # another picture
    )
    summary = captions(str(grown), output, ColourCaptioner(str(log)))
    assert (summary["captioned"], summary["reused"]) == (2, 2)
    rows = enrichment_rows(output / "captions")
    assert rows["pin", "i1"]["caption"] == rows["product", "p9"]["caption"] == "a blue picture"
    summary = captions(str(grown), output, ColourCaptioner(str(log), name="others"))
    assert (summary["captioned"], summary["reused"]) == (4, 0)


# --- the handler, with a real model ---


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("preset") / "tiny_pali_gemma"
    save_tiny_captioner(folder)
    return folder


def photo(seed: int, size: tuple[int, int]) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_a_real_model_says_what_keras_hub_says(preset: Path) -> None:
    images = [photo(n, (16, 16)) for n in range(5)]
    model = keras_hub.models.CausalLM.from_preset(str(preset))
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(i)), np.float32) for i in images])
    expected = [
        " ".join(text.split())
        for text in model.generate(
            {"images": pixels, "prompts": ["caption en\n"] * 5}, max_length=12, strip_prompt=True
        )
    ]
    assert len(set(expected)) > 1  # it looks at the pictures
    handler = CaptionHandler(str(preset), max_tokens=12, batch_size=3)
    loaded = handler.load_model()
    found = [*handler.run_inference(images[:3], loaded), *handler.run_inference(images[3:], loaded)]
    assert found == expected  # the batch of two was filled up to three


def test_the_job_with_a_real_model(tmp_path: Path, preset: Path, tables: Path) -> None:
    (tables / "a.png").write_bytes(photo(7, (40, 30)))  # of other sizes than the model's
    arguments = ["--input", str(tables), "--output", str(tmp_path / "out"), "--preset", str(preset)]
    summary = run([*arguments, "--max_tokens=12", "--batch_size=2", "--images=2"])
    assert summary["entities"] == {"pin": 1, "product": 2}
    assert summary["captioned"] == 4
    found = read_manifest(tmp_path / "out" / "captions")["captioner"]
    assert found["preset"] == "tiny_pali_gemma" and len(found["fingerprint"]) == 16
    rows = enrichment_rows(tmp_path / "out" / "captions")
    assert rows["pin", "i1"]["caption"] == rows["product", "p1"]["captions"][0]
    assert len(rows["pin", "i1"]["caption"].split()) > 2


def test_what_is_no_captioner(tmp_path: Path, preset: Path) -> None:
    task = keras_hub.models.CausalLM.from_preset(str(preset))
    task.preprocessor.image_converter = None
    task.save_to_preset(str(tmp_path / "blind"))
    with pytest.raises(InputError, match="a PaliGemmaCausalLM without images"):
        CaptionHandler(str(tmp_path / "blind")).load_model()
