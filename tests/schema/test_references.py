"""Duplicates and unknown references, found on disk."""

import io
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tfrs_sage.errors import InputError
from tfrs_sage.schema.references import IdStore, ImageFiles


def test_duplicates_against_a_counter() -> None:
    values = [f"id{n}" for n in np.random.default_rng(3).integers(0, 300, 500)]
    with IdStore() as ids:
        ids.add("products", values[:200], range(1, 201), "a")
        ids.add("products", values[200:], range(1, 301), "b")
        repeated = sum(count - 1 for count in Counter(values).values())
        assert ids.count_duplicates("products") == repeated > 0
        found = list(ids.duplicates("products", 1000))
    assert len(found) == repeated
    for duplicate in found:
        place = duplicate.row - 1 + (200 if duplicate.source == "b" else 0)
        first = duplicate.first_row - 1 + (200 if duplicate.first_source == "b" else 0)
        assert values[place] == duplicate.value
        assert first == values.index(duplicate.value) < place


def test_unknown_keeps_the_case_and_the_bytes() -> None:
    with IdStore() as ids:
        ids.add("pins", ["a", "Ä", "x'y", '1"2', "01"], range(5))
        assert ids.unknown("pins", ["a", "A", "Ä", "ä", "x'y", '1"2', "1", "a "]) == [
            "A",
            "ä",
            "1",
            "a ",
        ]
        assert ids.unknown("pins", ["a"]) == []  # nothing stays from the call before


def test_nothing_added_means_all_are_unknown() -> None:
    with IdStore() as ids:
        assert ids.unknown("products", ["a", "b"]) == ["a", "b"]
        assert ids.count_duplicates("products") == 0


def test_the_file_goes_with_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(RuntimeError), IdStore() as ids:
        ids.add("pins", ["a"], [1])
        assert len(list(tmp_path.iterdir())) == 1
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def _tar(path: Path, names: list[str]) -> None:
    with tarfile.open(path, "w") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 3
            tar.addfile(member, io.BytesIO(b"abc"))


def test_images_beside_the_tables_and_in_tars(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "beside.png").write_bytes(b"abc")
    _tar(tmp_path / "a.tar", ["images/one.png"])
    _tar(tmp_path / "b.tar", ["./images/two.png"])
    paths = ["images/one.png", "images/two.png", "images/beside.png", "images/none.png", "images"]
    with IdStore() as ids:
        assert ImageFiles(str(tmp_path), ids).unknown(paths) == ["images/none.png", "images"]


def test_a_tar_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "images.tar").write_bytes(b"no tar" * 200)
    with IdStore() as ids, pytest.raises(InputError, match=r"images\.tar must be a readable tar"):
        ImageFiles(str(tmp_path), ids).unknown(["a"])
