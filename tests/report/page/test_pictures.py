"""Pictures inside the page: from files and tars, small, many as one."""

import base64
import io

import numpy as np
from PIL import Image

from tests.conftest import write_table
from tfrs_sage.report.page.pictures import SPRITE_COLUMNS, Pictures, data_uri, sprite


def test_pictures_of_the_tables(tables) -> None:
    pictures = Pictures(str(tables))
    # s0 and s3 have a file, s1 and s4 a member of the tar, the others none.
    paths = pictures.paths("product", ["s0", "s1", "s2", "none"])
    assert paths == {"s0": ["images/s0.png"], "s1": ["images/s1.png"]}
    found = pictures.thumbnails("product", ["s0", "s1", "s2"], 8)
    assert list(found) == ["s0", "s1"]
    kind, _, data = found["s1"].partition(",")
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        assert kind == "data:image/webp;base64" and picture.size == (8, 8)
    assert pictures.thumbnails("pin", ["p0"], 8) == {}


def test_a_broken_picture_is_passed_over(tmp_path, caplog) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    Image.new("RGB", (30, 20), "red").save(tmp_path / "good.png")
    rows = [{"product_id": "p", "image_paths": ["bad.png", "gone.png", "good.png"]}]
    write_table(tmp_path / "products.parquet", rows)
    pictures = Pictures(str(tmp_path))
    picture = pictures.first(pictures.paths("product", ["p"])["p"], 10)
    assert picture is not None and picture.size == (10, 7)
    assert "bad.png" in caplog.text and "gone.png" in caplog.text


def test_no_tables_no_pictures(tmp_path) -> None:
    for folder in (None, str(tmp_path / "gone")):
        assert Pictures(folder).thumbnails("product", ["p"], 8) == {}


def test_many_pictures_as_one() -> None:
    pictures = {f"p{n}": Image.new("RGB", (4, 2), (n, 0, 255)) for n in range(SPRITE_COLUMNS + 3)}
    sheet, squares = sprite(pictures, 4)
    assert sheet.size == (4 * SPRITE_COLUMNS, 8) and squares["p41"] == 41
    pixels = np.asarray(sheet)
    assert tuple(pixels[2, 4 * 5]) == (5, 0, 255)  # in the middle of its square
    assert tuple(pixels[0, 4 * 5]) == (255, 255, 255)
    assert tuple(pixels[4 + 2, 4]) == (41, 0, 255)
    assert data_uri(sheet).startswith("data:image/webp;base64,")
