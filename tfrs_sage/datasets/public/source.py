"""A public data set: where it comes from, under which licence, how its files become tables."""

import hashlib
import html
import logging
import re
import shutil
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from tfrs_sage.artefacts import whole_file, whole_folder, write_json
from tfrs_sage.datasets.writing import check_target
from tfrs_sage.errors import InputError

logger = logging.getLogger(__name__)
MARK = "source.json"  # says what a folder of tables was made from, and that it may be replaced
LFS_POINTER = b"version https://git-lfs"
_TAG = re.compile(r"<[^>]*>")

STRINGS = pa.list_(pa.string())
ENGAGEMENTS = pa.schema(
    [
        (name, pa.string())
        for name in ("query_type", "query", "candidate_type", "candidate", "action", "split")
    ]
)
TIMED_ENGAGEMENTS = pa.schema(
    [
        *(field for field in ENGAGEMENTS if field.name != "split"),
        pa.field("user_id", pa.string()),
        pa.field("timestamp", pa.timestamp("ms", tz="UTC")),
    ]
)
JUDGMENTS = pa.schema(
    [
        ("query", pa.string()),
        ("product_id", pa.string()),
        ("relevance", pa.float64()),
        ("split", pa.string()),
    ]
)

# Folder of the set's files, folder to write the tables to, options -> rows of each table.
Write = Callable[[Path, Path, Mapping[str, Any]], dict[str, int]]


@dataclass(frozen=True)
class PublicSet:
    """One data set.

    Attributes:
        name: of the verb.
        title: of the set.
        homepage: where it is described and can be had.
        licence: in words.
        citation: what its authors ask to cite.
        files: that must be there, relative to the folder, each in words. A name may have several
            alternatives, joined by ` or `.
        write: makes the tables.
        downloads: address of each file by its name in the folder; a `.zip` is unpacked there.
        login: why there is no download, where there is none.
    """

    name: str
    title: str
    homepage: str
    licence: str
    citation: str
    files: Mapping[str, str]
    write: Write
    downloads: Mapping[str, str] = field(default_factory=dict)
    login: str = ""

    @property
    def terms(self) -> str:
        """Licence and citation, as they are printed."""
        return f"{self.title}\nlicence: {self.licence}\nplease cite: {self.citation}"

    @property
    def instructions(self) -> str:
        """Where to download what, and where to put it."""
        lines = [f"{self.title}: get it from {self.homepage} and put into one folder:"]
        lines += [f"  {name}: {what}" for name, what in self.files.items()]
        way = "with network, --download gets them" if self.downloads else self.login
        return "\n".join([*lines, f"({way})"])

    def missing(self, folder: Path) -> list[str]:
        """The files that the folder lacks."""
        return [
            names
            for names in self.files
            if not any((folder / name).is_file() for name in names.split(" or "))
        ]


def convert(
    source: PublicSet, folder: Path, output: Path, options: Mapping[str, Any] | None = None
) -> dict[str, int]:
    """Writes a set's files as input tables.

    Args:
        source: the set.
        folder: holds its files.
        output: folder of the tables; new, empty, or one that an adapter made.
        options: of the adapter.

    Returns:
        Rows of each table.

    Raises:
        InputError: a file is missing or is not what it should be, or `output` holds other things.
    """
    if missing := source.missing(folder):
        raise InputError(
            f"{folder} must hold the files of {source.title}. Found: no {', '.join(missing)}.\n"
            + source.instructions
        )
    for name in (name for names in source.files for name in names.split(" or ")):
        _refuse_pointer(folder / name)
    check_target(output, MARK, "a public set")
    with whole_folder(output) as place:
        counts = source.write(folder, place, options or {})
        about = {"licence": source.licence, "citation": source.citation, "from": source.homepage}
        write_json(place / MARK, {"set": source.name, **about, **(options or {}), "rows": counts})
    return counts


def download(source: PublicSet, folder: Path) -> None:
    """Gets the files of a set that the folder lacks, each whole or not at all.

    Raises:
        InputError: the set cannot be had by a plain address.
        OSError: the network failed.
    """
    if not source.downloads:
        raise InputError(
            f"--download is for sets without a login. Received: {source.name}.\n"
            + source.instructions
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, address in source.downloads.items():
        path = folder / name
        if path.is_file():
            continue
        logger.info("downloading %s", address)
        with (
            whole_file(path) as beside,
            urllib.request.urlopen(address, timeout=60) as answer,
            open(beside, "wb") as file,
        ):
            shutil.copyfileobj(answer, file, 2**20)
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                _extract_flat(archive, folder)


def _extract_flat(archive: zipfile.ZipFile, folder: Path) -> None:
    """Members of a zip by their last name alone: none can leave the folder."""
    for member in archive.infolist():
        name = Path(member.filename).name
        if name and not member.is_dir():
            with archive.open(member) as file, open(folder / name, "wb") as out:
                shutil.copyfileobj(file, out, 2**20)


def _refuse_pointer(path: Path) -> None:
    """A clone without Git LFS has a few lines of text in place of a large file."""
    if path.is_file():
        with open(path, "rb") as file:
            if file.read(len(LFS_POINTER)) == LFS_POINTER:
                raise InputError(
                    f"{path} must be the data. Found: a pointer of Git LFS. Run `git lfs pull` in "
                    "that repository, or use --download."
                )


def plain_text(value: str | None) -> str | None:
    """A text without HTML tags, entities and runs of white space; None for an empty one."""
    if value is None:
        return None
    return " ".join(html.unescape(_TAG.sub(" ", value)).split()) or None


def hashed_split(text: str, validation: float = 0.1, test: float = 0.1) -> str:
    """A split by a hash of the text: the same for every row of a query, on every machine."""
    digest = hashlib.sha256(text.encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < test:
        return "test"
    return "validation" if place < test + validation else "train"


def search_row(query: str, product: str, action: str, split: str) -> dict[str, str]:
    """An engagement of a text query with a product."""
    return {
        "query_type": "search",
        "query": query,
        "candidate_type": "product",
        "candidate": product,
        "action": action,
        "split": split,
    }
