"""Getting the files of a public set, and refusing what is none."""

import functools
import http.server
import io
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.datasets.public import samples
from tfrs_sage.datasets.public import SETS, convert, download
from tfrs_sage.datasets.public.source import hashed_split, plain_text
from tfrs_sage.errors import InputError


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """An HTTP server on this machine, and the folder that it serves."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/", folder
        running.shutdown()


def test_files_are_downloaded_once(server: tuple[str, Path], tmp_path: Path) -> None:
    address, served = server
    samples.write_wands(served)
    one = replace(
        SETS["wands"], downloads={name: address + name for name in SETS["wands"].downloads}
    )
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "query.csv").write_text("there already")
    download(one, tmp_path / "files")
    assert (tmp_path / "files" / "query.csv").read_text() == "there already"
    found = (tmp_path / "files" / "label.csv").read_text()
    assert found == (served / "label.csv").read_text()
    assert {path.name for path in (tmp_path / "files").iterdir()} == set(one.downloads)


def test_a_zip_is_unpacked_within_the_folder(server: tuple[str, Path], tmp_path: Path) -> None:
    address, served = server
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in samples.write_movielens_100k(tmp_path / "100k").iterdir():
            archive.write(path, f"ml-100k/{path.name}")
        archive.writestr("../../outside.txt", "kept inside")
    (served / "ml-100k.zip").write_bytes(packed.getvalue())
    one = replace(SETS["movielens"], downloads={"ml-100k.zip": address + "ml-100k.zip"})
    download(one, tmp_path / "files")
    assert (tmp_path / "files" / "outside.txt").is_file()
    assert convert(one, tmp_path / "files", tmp_path / "tables")["products"] == 2


def test_what_needs_a_login_is_not_downloaded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Received: hm.\n.*kaggle\.com"):
        download(SETS["hm"], tmp_path)


def test_a_pointer_in_place_of_the_data_is_told(tmp_path: Path) -> None:
    folder = samples.write_esci(tmp_path / "files")
    (folder / "shopping_queries_dataset_products.parquet").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    )
    with pytest.raises(InputError, match="a pointer of Git LFS"):
        convert(SETS["esci"], folder, tmp_path / "tables", {"locale": "us", "small": False})


def test_nothing_else_is_replaced(tmp_path: Path) -> None:
    folder = samples.write_wands(tmp_path / "files")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="holds something else"):
        convert(SETS["wands"], folder, tmp_path / "tables")
    assert (tmp_path / "tables" / "mine.txt").is_file()


def test_a_file_of_another_kind_is_told(tmp_path: Path) -> None:
    folder = samples.write_wands(tmp_path / "files")
    (folder / "label.csv").write_text("id,query_id,product_id,label\n0,0,0,Exact\n")
    with pytest.raises(InputError, match=r"label\.csv must be the file of the data set"):
        convert(SETS["wands"], folder, tmp_path / "tables")
    assert not (tmp_path / "tables").exists()
    with pytest.raises(InputError, match=r"must be one of us, es, jp\. Received: 'fr'"):
        folder = samples.write_esci(tmp_path / "esci")
        convert(SETS["esci"], folder, tmp_path / "tables", {"locale": "fr", "small": False})


def test_texts_and_splits() -> None:
    assert plain_text("<p>Oak &amp;\n<b>ash</b></p>") == "Oak & ash"
    assert plain_text("<br/> ") is None and plain_text(None) is None
    splits = [hashed_split(f"query {n}", 0.2, 0.1) for n in range(3000)]
    assert splits.count("test") / 3000 == pytest.approx(0.1, abs=0.02)
    assert splits.count("validation") / 3000 == pytest.approx(0.2, abs=0.03)
