"""Who refers to whom: ids of the tables and names of the images, on disk rather than in memory.

Sets of a hundred million ids do not fit into memory; a temporary SQLite file does, and its index
finds duplicates and answers which of a batch's references are unknown.
"""

import os
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tfrs_sage.errors import InputError

_CACHE_KIB = 64 * 1024
_INSERT = 50_000  # names of a tar that are inserted together


class Duplicate(NamedTuple):
    """An id that an earlier row has already."""

    value: str
    source: str
    row: int
    first_source: str
    first_row: int


class IdStore:
    """Ids by the name of what they belong to, in a temporary file that ends with the `with`."""

    def __init__(self) -> None:
        descriptor, self._path = tempfile.mkstemp(prefix="tfrs-sage-ids-", suffix=".sqlite")
        os.close(descriptor)
        self._database = sqlite3.connect(self._path, isolation_level=None)
        # A lost file is a lost validation, nothing more: no journal, no syncing.
        for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{_CACHE_KIB}"):
            self._database.execute(f"PRAGMA {pragma}")
        self._database.execute("CREATE TEMP TABLE probe (id TEXT)")
        self._tables: dict[str, bool] = {}  # name -> has its index
        self._sources: list[str] = []

    def __enter__(self) -> "IdStore":
        return self

    def __exit__(self, *error: object) -> None:
        self._database.close()
        os.unlink(self._path)

    def add(self, name: str, ids: Iterable[str], rows: Iterable[int], source: str = "") -> None:
        """Adds ids, before anything is asked about them.

        Args:
            name: what they belong to, such as `products`.
            ids: not unique, perhaps.
            rows: the row of each.
            source: the file of all of them.
        """
        if name not in self._tables:
            self._database.execute(f'CREATE TABLE "{name}" (id TEXT, source INTEGER, row INTEGER)')
            self._tables[name] = False
        if not self._sources or self._sources[-1] != source:
            self._sources.append(source)
        number = len(self._sources) - 1
        self._database.execute("BEGIN")
        self._database.executemany(
            f'INSERT INTO "{name}" VALUES (?, {number}, ?)', zip(ids, rows, strict=True)
        )
        self._database.execute("COMMIT")

    def _seal(self, name: str) -> None:
        """Builds the index once, after all ids are there: that is a sort, not a million seeks."""
        if not self._tables[name]:
            self._database.execute(f'CREATE INDEX "{name}_id" ON "{name}" (id)')
            self._tables[name] = True

    def count_duplicates(self, name: str) -> int:
        """Number of rows whose id an earlier row has."""
        if name not in self._tables:
            return 0
        self._seal(name)
        query = f'SELECT sum(n - 1) FROM (SELECT count(*) n FROM "{name}" GROUP BY id HAVING n > 1)'
        (count,) = self._database.execute(query).fetchone()
        return int(count or 0)

    def duplicates(self, name: str, limit: int) -> Iterator[Duplicate]:
        """The first `limit` rows whose id an earlier row has, in the order they were added."""
        self._seal(name)
        query = f"""
            SELECT later.id, later.source, later.row, first.source, first.row
            FROM (SELECT id, min(rowid) AS first FROM "{name}" GROUP BY id HAVING count(*) > 1)
                AS repeated
            JOIN "{name}" AS later ON later.id = repeated.id AND later.rowid > repeated.first
            JOIN "{name}" AS first ON first.rowid = repeated.first
            ORDER BY later.rowid LIMIT ?
        """
        for value, source, row, first_source, first_row in self._database.execute(query, (limit,)):
            sources = self._sources
            yield Duplicate(value, sources[source], row, sources[first_source], first_row)

    def unknown(self, name: str, values: Iterable[str]) -> list[str]:
        """Those of `values` that `name` does not hold (all, where nothing was added to it)."""
        if name not in self._tables:
            return list(values)
        self._seal(name)
        self._database.execute("BEGIN")
        self._database.executemany("INSERT INTO probe VALUES (?)", ((value,) for value in values))
        missing = self._database.execute(
            f'SELECT id FROM probe WHERE NOT EXISTS (SELECT 1 FROM "{name}" AS known '
            "WHERE known.id = probe.id)"
        ).fetchall()
        self._database.execute("DELETE FROM probe")
        self._database.execute("COMMIT")
        return [value for (value,) in missing]


class ImageFiles:
    """The images that a local folder of tables holds: files, or members of its `*.tar`."""

    _NAME = "images in tar"

    def __init__(self, folder: str, ids: IdStore) -> None:
        self._folder = Path(folder)
        self._ids = ids
        self._listed = False

    def unknown(self, paths: Iterable[str]) -> list[str]:
        """Those of `paths` that are neither a file nor a member.

        Raises:
            InputError: a tar that cannot be read.
        """
        if not self._listed:  # a table without image paths never opens a tar
            for tar in sorted(self._folder.glob("*.tar")):
                self._list(tar)
            self._listed = True
        absent = self._ids.unknown(self._NAME, paths)
        return [path for path in absent if not (self._folder / path).is_file()]

    def _list(self, tar: Path) -> None:
        names: list[str] = []
        try:
            with tarfile.open(tar) as archive:
                for member in archive:
                    if member.isfile():
                        names.append(member.name.removeprefix("./"))
                    archive.members = []  # type: ignore[attr-defined]  # it keeps every header
                    if len(names) == _INSERT:
                        self._ids.add(self._NAME, names, [0] * len(names), str(tar))
                        names = []
        except (tarfile.TarError, EOFError, OSError) as error:
            raise InputError(
                f"{tar} must be a readable tar of images. Found: {error}. Write it again."
            ) from error
        self._ids.add(self._NAME, names, [0] * len(names), str(tar))
