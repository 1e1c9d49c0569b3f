"""Users in one SQLite file: embedded, for the servers and jobs of one machine."""

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tfrs_sage.errors import InputError
from tfrs_sage.users.store import Change, StoredUser, UserStore, chunks

VERSION = 1  # of the tables, in the file's `user_version`
WAIT_SECONDS = 60.0  # for another writer's lock
_ASKED_AT_ONCE = 500  # SQLite's limit on the parameters of a statement has been 999
_TABLES = """
CREATE TABLE IF NOT EXISTS users (
  user_id TEXT PRIMARY KEY, as_of REAL NOT NULL, value BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS users_by_as_of ON users (as_of);
CREATE TABLE IF NOT EXISTS batches (one INTEGER PRIMARY KEY CHECK (one = 1), as_of REAL NOT NULL);
"""
_NEVER = -1e300  # the `as_of` of a user without a batch part


class SqliteStore(UserStore):
    """One row a user. Write-ahead logging lets readers read while one writer writes.

    A change is on disk when the operating system has written it: after a power cut the last ones
    may be missing, and events or the batch bring them again; the file is never broken.

    Args:
        path: the file; made where there is none. Must be on a local disk, for its locks.

    Raises:
        InputError: not a user store, or one of another version.
    """

    outages = (sqlite3.OperationalError,)

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._local = threading.local()
        self._lock = threading.Lock()
        self._open: list[tuple[int, sqlite3.Connection]] = []
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._create()

    def get_many(self, user_ids: Iterable[str]) -> dict[str, StoredUser]:
        return self._read(self._connection(), user_ids)

    def update_many(self, user_ids: Iterable[str], change: Change) -> dict[str, StoredUser]:
        wanted = list(dict.fromkeys(user_ids))
        after: dict[str, StoredUser] = {}
        with self._writing() as connection:
            before = self._read(connection, wanted)
            for user_id in wanted:
                old = before.get(user_id)
                new = change(user_id, old)
                if new is not None and not new.is_empty:
                    after[user_id] = new
                if new is not old:
                    self._write(connection, user_id, after.get(user_id))
        return after

    def before_batch(self, as_of: float) -> Iterator[str]:
        # Page by page, each read to its end: an open reader would keep the log from shrinking.
        last = ""
        while True:
            rows = self._connection().execute(
                "SELECT user_id FROM users WHERE as_of < ? AND user_id > ? ORDER BY user_id "
                "LIMIT 10000",
                (as_of, last),
            )
            page = [str(user_id) for (user_id,) in rows]
            if not page:
                return
            yield from page
            last = page[-1]

    def batch_as_of(self) -> float | None:
        row = self._connection().execute("SELECT as_of FROM batches").fetchone()
        return None if row is None else float(row[0])

    def _set_batch_as_of(self, as_of: float) -> None:
        with self._writing() as connection:
            connection.execute("REPLACE INTO batches VALUES (1, ?)", (as_of,))

    def close(self) -> None:
        with self._lock:
            for process, connection in self._open:
                if process == os.getpid():
                    connection.close()
            self._open.clear()
            self._local = threading.local()

    def _create(self) -> None:
        try:
            connection = self._connection()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, VERSION):
                raise InputError(
                    f"{self.path} must be a user store of version {VERSION}. Found: version "
                    f"{version}. Name another file, and fill it with cluster-users."
                )
            if version == 0:
                with self._writing():
                    for statement in _TABLES.split(";"):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version = {VERSION}")
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise  # no disk space, no permission, a lock that nobody gives back
            raise InputError(
                f"{self.path} must be a SQLite file. Found: {error}. Name another file."
            ) from error

    def _connection(self) -> sqlite3.Connection:
        """This thread's own; a forked child opens its own too, as SQLite asks."""
        if getattr(self._local, "process", None) != os.getpid():
            connection = sqlite3.connect(
                self.path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA synchronous = NORMAL")
            # Asked for once in the life of a file: the change needs the file for itself alone.
            if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                connection.execute("PRAGMA journal_mode = WAL")
            self._local.connection, self._local.process = connection, os.getpid()
            with self._lock:
                self._open.append((os.getpid(), connection))
        found: sqlite3.Connection = self._local.connection
        return found

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that holds the write lock from its start: what it reads stays true."""
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def _read(
        self, connection: sqlite3.Connection, user_ids: Iterable[str]
    ) -> dict[str, StoredUser]:
        found: dict[str, StoredUser] = {}
        for part in chunks(user_ids, _ASKED_AT_ONCE):
            marks = ",".join("?" * len(part))
            rows = connection.execute(
                f"SELECT user_id, value FROM users WHERE user_id IN ({marks})", part
            )
            found.update((user_id, StoredUser.from_json(value)) for user_id, value in rows)
        return found

    def _write(self, connection: sqlite3.Connection, user_id: str, user: StoredUser | None) -> None:
        if user is None:
            connection.execute("DELETE FROM users WHERE user_id = ?", (user_id,))
        else:
            as_of = _NEVER if user.batch is None else user.batch.as_of
            row = (user_id, as_of, user.to_json())
            connection.execute("REPLACE INTO users VALUES (?, ?, ?)", row)
