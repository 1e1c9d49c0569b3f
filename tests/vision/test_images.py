"""ImageSource: files before tars, by offset, safe to fork, never out of the folder."""

import io
import multiprocessing
import pickle
import sys
import tarfile
from pathlib import Path

import pytest

from tfrs_sage.errors import InputError
from tfrs_sage.vision import ImageError, ImageSource


def add_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "both.jpg").write_bytes(b"file")
    add_tar(tmp_path / "a.tar", {"images/one.jpg": b"first", "images/both.jpg": b"tar"})
    add_tar(tmp_path / "b.tar", {"./images/two.jpg": bytes(range(256)) * 9, "images/empty": b""})
    return tmp_path


def test_reads_files_and_members_of_every_tar(folder: Path) -> None:
    source = ImageSource(str(folder))
    assert source.read("images/one.jpg") == b"first"
    assert source.read("images/two.jpg") == bytes(range(256)) * 9
    assert source.read("./images/one.jpg") == b"first"
    assert source.read("images/empty") == b""
    assert source.read("images/both.jpg") == b"file"  # the file wins over the tar


def test_tars_are_walked_once(folder: Path) -> None:
    source = ImageSource(str(folder))
    source.read("images/one.jpg")
    add_tar(folder / "c.tar", {"images/late.jpg": b"late"})
    with pytest.raises(ImageError, match=r"late\.jpg: is neither a file in .* nor a member"):
        source.read("images/late.jpg")
    assert ImageSource(str(folder)).read("images/late.jpg") == b"late"


@pytest.mark.parametrize(
    "path", ["../secret", "images/../../secret", "/etc/passwd", "", "a\\b", "gs://b/x", "a\0b"]
)
def test_paths_out_of_the_folder_are_refused(folder: Path, path: str) -> None:
    (folder.parent / "secret").write_bytes(b"secret")
    with pytest.raises(ImageError, match="inside the folder"):
        ImageSource(str(folder)).read(path)


def test_a_folder_is_not_an_image(folder: Path) -> None:
    with pytest.raises(ImageError, match="cannot be read"):
        ImageSource(str(folder)).read("images")


def test_pickling_carries_the_folder_only(folder: Path) -> None:
    source = ImageSource(str(folder))
    before = len(pickle.dumps(source))
    source.read("images/one.jpg")
    data = pickle.dumps(source)
    assert len(data) == before
    assert pickle.loads(data).read("images/two.jpg") == source.read("images/two.jpg")


def read_often(source: ImageSource, name: str, expected: bytes) -> None:
    right = all(source.read(name) == expected for _ in range(300))
    sys.exit(0 if right else 1)


def test_forked_processes_do_not_move_each_others_file_offset(tmp_path: Path) -> None:
    members = {f"{i}": bytes([i]) * 100_000 for i in range(4)}
    add_tar(tmp_path / "x.tar", members)
    source = ImageSource(str(tmp_path))
    source.read("0")  # the parent's handle is open when the children start
    context = multiprocessing.get_context("fork")
    # A forked process gets the source as it is, open handle and all: nothing is pickled.
    jobs = [context.Process(target=read_often, args=(source, *item)) for item in members.items()]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(30)
    assert [job.exitcode for job in jobs] == [0] * 4


def test_a_tar_cut_off_is_an_error_that_names_it(folder: Path) -> None:
    data = (folder / "b.tar").read_bytes()
    (folder / "b.tar").write_bytes(data[:1000])
    with pytest.raises((ImageError, InputError), match=r"b\.tar"):
        ImageSource(str(folder)).read("images/two.jpg")


def test_compressed_tars_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "z.tar", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("x"), io.BytesIO())
    with pytest.raises(InputError, match=r"whole, uncompressed tar\. Found: .*z\.tar"):
        ImageSource(str(tmp_path)).read("x")


def test_image_errors_survive_pickling() -> None:
    error = pickle.loads(pickle.dumps(ImageError("a.jpg", "is damaged")))
    assert (error.path, error.reason, str(error)) == ("a.jpg", "is damaged", "a.jpg: is damaged")
