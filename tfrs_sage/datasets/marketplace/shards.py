"""Writes drawn pictures as files or into tar shards, in order, with as many processes as given."""

import io
import multiprocessing
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np

from tfrs_sage.datasets.marketplace.pictures import Look, draw_product, draw_scene
from tfrs_sage.datasets.marketplace.rich import dim

DRAWN_AT_ONCE = 64  # pictures a message between processes


@dataclass(frozen=True)
class Picture:
    """One picture to draw; everything it depends on, so that any process draws the same.

    Attributes:
        path: str. Relative to the folder of tables.
        looks: tuple of Look. The product, and in a scene what stands around it.
        view: int. As `draw_product`; -1 is a scene.
        seed: tuple of int.
        is_dim: bool. Small and without colour, as `rich.dim`.
    """

    path: str
    looks: tuple[Look, ...]
    view: int
    seed: tuple[int, ...]
    is_dim: bool = False


class Sink(Protocol):
    """Where finished pictures go."""

    def add(self, path: str, data: bytes) -> None: ...


def draw(picture: Picture) -> bytes:
    """The JPEG bytes of one picture."""
    random = np.random.default_rng(picture.seed)
    if picture.view < 0:
        drawn = draw_scene(list(picture.looks), random)
    else:
        drawn = draw_product(picture.looks[0], picture.view, random)
    return dim(drawn) if picture.is_dim else drawn


def write_pictures(pictures: Iterable[Picture], sink: Sink, num_processes: int) -> int:
    """Draws pictures and adds them to the sink in their order.

    Args:
        pictures: iterable of Picture; consumed piece by piece.
        sink: Sink.
        num_processes: int. 1 draws in this process. The bytes do not depend on it.

    Returns:
        How many pictures were written.
    """
    if num_processes == 1:
        drawn: Iterator[list[tuple[str, bytes]]] = map(_draw_group, _groups(pictures))
        return _add_all(drawn, sink)
    # Spawned, not forked: a fork of a process in which TensorFlow has threads may hang.
    with multiprocessing.get_context("spawn").Pool(num_processes) as pool:
        total = 0
        # A few groups a process at a time, so that memory stays bounded whatever the sink does.
        groups = _groups(pictures)
        while window := list(islice(groups, 8 * num_processes)):
            total += _add_all(pool.imap(_draw_group, window), sink)
        return total


def _groups(pictures: Iterable[Picture]) -> Iterator[list[Picture]]:
    rest = iter(pictures)
    while group := list(islice(rest, DRAWN_AT_ONCE)):
        yield group


def _draw_group(group: list[Picture]) -> list[tuple[str, bytes]]:
    return [(picture.path, draw(picture)) for picture in group]


def _add_all(drawn: Iterable[list[tuple[str, bytes]]], sink: Sink) -> int:
    total = 0
    for group in drawn:
        for path, data in group:
            sink.add(path, data)
        total += len(group)
    return total


class FileSink:
    """Pictures as files under the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: set[Path] = set()

    def add(self, path: str, data: bytes) -> None:
        target = self._folder / path
        if target.parent not in self._made:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._made.add(target.parent)
        target.write_bytes(data)


class TarSink:
    """Pictures as members of `images-000.tar`, `images-001.tar`, ... of so many pictures each."""

    def __init__(self, folder: Path, pictures_per_shard: int) -> None:
        self._folder = folder
        self._size = pictures_per_shard
        self._count = 0
        self._tar: tarfile.TarFile | None = None

    def add(self, path: str, data: bytes) -> None:
        if self._tar is None or self._count % self._size == 0:
            self.close()
            name = f"images-{self._count // self._size:03d}.tar"
            path_of_shard = self._folder / name
            self._tar = tarfile.TarFile(path_of_shard, "w", format=tarfile.USTAR_FORMAT)
        member = tarfile.TarInfo(path)  # owner and time stay zero: the same bytes every time
        member.size = len(data)
        self._tar.addfile(member, io.BytesIO(data))
        self._count += 1

    def close(self) -> None:
        if self._tar is not None:
            self._tar.close()


@contextmanager
def picture_sink(folder: Path, as_tars: bool, pictures_per_shard: int) -> Iterator[Sink]:
    """The sink of a folder, closed at the end."""
    if not as_tars:
        yield FileSink(folder)
        return
    sink = TarSink(folder, pictures_per_shard)
    try:
        yield sink
    finally:
        sink.close()
