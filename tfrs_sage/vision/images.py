"""Image bytes by the path that a table names: from a file, or from a tar beside the tables."""

import os
import tarfile
import threading
from pathlib import PurePosixPath
from typing import Any

from tfrs_sage.errors import InputError


class ImageError(InputError):
    """One image that cannot be used; the rest of the row can.

    Attributes:
        path: the path as the table gives it, or `images[i]` for the i-th of a batch of bytes.
        reason: what is wrong with it, as half a sentence.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path or 'the image'}: {self.reason}"


class ImageSource:
    """Reads images by relative path from a folder of tables, local or remote.

    A file at the path wins; else the member of that name of any `*.tar` in the folder is read
    by seek and read. The tars are walked once, at the first path that is no file. Pickling
    carries the folder only, so each process walks them for itself, and each process and
    thread keeps file handles of its own (a handle shared over a fork would share its offset).

    Args:
        folder: str. The folder of tables: local, or any path that Beam's filesystems read.
    """

    def __init__(self, folder: str) -> None:
        self.folder = str(folder)
        self._members: dict[str, tuple[str, int, int]] | None = None
        self._local = threading.local()

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["folder"])  # type: ignore[misc]

    def read(self, relative_path: str) -> bytes:
        """The bytes of one image.

        Args:
            relative_path: str. `/`-separated, relative to the folder; never out of it.

        Raises:
            ImageError: the path leaves the folder, names nothing, or cannot be read.
        """
        name = _checked_name(relative_path)
        file_systems = _file_systems()
        path = file_systems.join(self.folder, name)
        try:
            if file_systems.exists(path):
                with _open(path) as file:
                    return bytes(file.read())
            return self._read_member(name, relative_path)
        except OSError as error:
            raise ImageError(relative_path, f"cannot be read ({error})") from error

    def _read_member(self, name: str, relative_path: str) -> bytes:
        if self._members is None:
            self._members = self._index_tars()
        if name not in self._members:
            raise ImageError(
                relative_path, f"is neither a file in {self.folder} nor a member of a *.tar there"
            )
        tar, offset, size = self._members[name]
        file = self._handle(tar)
        file.seek(offset)
        data = bytes(file.read(size))
        if len(data) != size:
            raise ImageError(relative_path, f"{tar} ends inside it: {len(data)} of {size} bytes")
        return data

    def _index_tars(self) -> dict[str, tuple[str, int, int]]:
        """Maps member name to (tar, offset of its data, size in bytes)."""
        file_systems = _file_systems()
        pattern = file_systems.join(self.folder, "*.tar")
        members = {}
        for metadata in sorted(file_systems.match([pattern])[0].metadata_list, key=_path):
            with _open(metadata.path) as file:
                try:
                    # "r:" refuses compressed tars, in which an offset means nothing.
                    with tarfile.open(fileobj=file, mode="r:") as archive:
                        for member in archive:
                            if member.isreg():
                                name = str(PurePosixPath(member.name))
                                members[name] = (metadata.path, member.offset_data, member.size)
                except tarfile.TarError as error:
                    raise InputError(
                        f"a *.tar beside the tables must be a whole, uncompressed tar. "
                        f"Found: {metadata.path}: {error}. Pack it again, or move it away."
                    ) from error
        return members

    def _handle(self, tar: str) -> Any:
        if getattr(self._local, "pid", None) != os.getpid():
            self._local.pid, self._local.handles = os.getpid(), {}
        if tar not in self._local.handles:
            self._local.handles[tar] = _open(tar)
        return self._local.handles[tar]


def _checked_name(relative_path: str) -> str:
    """The path in its plain form, refused when it could leave the folder."""
    path = PurePosixPath(relative_path)
    unsafe = path.is_absolute() or ".." in path.parts or not path.parts
    if unsafe or any(sign in relative_path for sign in ("\\", "\0", "://")):
        raise ImageError(
            relative_path, "must be a relative, /-separated path inside the folder of tables"
        )
    return str(path)


def _path(metadata: Any) -> str:
    return str(metadata.path)


def _open(path: str) -> Any:
    from apache_beam.io.filesystem import CompressionTypes

    # Beam would else guess a compression from the name of the file.
    return _file_systems().open(path, compression_type=CompressionTypes.UNCOMPRESSED)


def _file_systems() -> Any:
    # Beam takes seconds to import, and only reading needs it.
    from apache_beam.io.filesystems import FileSystems

    return FileSystems
