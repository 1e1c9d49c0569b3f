"""Everything that is wrong with a folder of tables, found in one pass of bounded memory.

Rows are judged by `rows.check_row`, columns by their type, ids and references against a temporary
SQLite file. All problems are counted; the first hundred of each kind are told in full.
"""

import difflib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tfrs_sage.errors import InputError
from tfrs_sage.schema.conversion import fits
from tfrs_sage.schema.reading import (
    file_columns,
    is_local,
    iter_file_batches,
    note_widths,
    stray_files,
    table_files,
)
from tfrs_sage.schema.references import IdStore, ImageFiles
from tfrs_sage.schema.rows import MALFORMED, Problem, check_row, shown
from tfrs_sage.schema.screening import suspicious_rows
from tfrs_sage.schema.tables import ENTITY_TABLE, TABLES, Column, TableSpec

__all__ = ["Problem", "ValidationReport", "check_row", "validate_tables"]

SHOWN_PER_KIND = 100
_log = logging.getLogger(__name__)


@dataclass
class ValidationReport:
    """What `validate_tables` found.

    Attributes:
        problems: the first `limit` of each kind, table by table.
        problem_counts: how many there are of each kind, by `table.column: kind`.
        warnings: what is ignored, in words.
        rows: number of rows of each table that is there.
        limit: of each kind that is kept.
    """

    problems: list[Problem] = field(default_factory=list)
    problem_counts: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    limit: int = SHOWN_PER_KIND

    @property
    def ok(self) -> bool:
        return not self.problem_counts

    @property
    def num_problems(self) -> int:
        """All problems, those not kept included."""
        return sum(self.problem_counts.values())

    def add(self, problem: Problem) -> None:
        """Counts a problem and keeps it among the first of its kind."""
        self.add_many(problem.table, problem.column, problem.kind, 1, lambda room: [problem])

    def add_many(
        self,
        table: str,
        column: str,
        kind: str,
        count: int,
        make: Callable[[int], Iterable[Problem]],
    ) -> None:
        """Counts `count` problems of a kind; `make(n)` gives the first n of them."""
        key = f"{table}.{column}: {kind}" if column else f"{table}: {kind}"
        before = self.problem_counts.get(key, 0)
        if count:
            self.problem_counts[key] = before + count
            room = min(count, self.limit - before)
            if room > 0:
                self.problems.extend(make(room))

    def raise_for_problems(self) -> None:
        """Raises:
        InputError: there are problems; its text tells the first ten.
        """
        if self.ok:
            return
        told = [f"  {problem}" for problem in self.problems[:10]]
        if self.num_problems > len(told):
            told.append(f"  and {self.num_problems - len(told)} more")
        raise InputError(
            f"The tables must be free of problems. Found {self.num_problems}:\n"
            + "\n".join(told)
            + "\nCorrect them; `tfrs-sage validate` lists all."
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "rows": self.rows,
            "num_problems": self.num_problems,
            "problem_counts": self.problem_counts,
            "problems": [problem.to_json() for problem in self.problems],
            "warnings": self.warnings,
        }


def validate_tables(folder: str, limit: int = SHOWN_PER_KIND) -> ValidationReport:
    """Checks a folder of input tables.

    Args:
        folder: local, or any path that Beam's filesystems read. Image files are looked for only
            in a local one.
        limit: problems of one kind that are kept; all are counted.

    Returns:
        The report.

    Raises:
        InputError: there is no such folder, or a table is there in two formats.
    """
    folder = str(folder)
    files = table_files(folder)
    report = ValidationReport(limit=limit)
    for path in stray_files(folder):
        report.warnings.append(f"file {path} is no table and is ignored{_nearest(path)}")
    with IdStore() as ids:
        images = ImageFiles(folder, ids) if is_local(folder) else None
        for spec in TABLES.values():
            if spec.name in files:
                _TableCheck(spec, report, ids, images).run(files[spec.name])
            elif spec.required:
                expected = f"{spec.name}.parquet, {spec.name}.jsonl or {spec.name}.csv"
                report.add(Problem(spec.name, None, "", "no file", expected, folder, "missing"))
        if images is None and any(name in files for name in ("products", "pins")):
            report.warnings.append("image files are not looked for, because the folder is remote")
    return report


def _nearest(path: str) -> str:
    near = difflib.get_close_matches(path.split("/")[0].rsplit(".", 1)[0], TABLES, n=1)
    return f"; is it meant to be {near[0]}?" if near else ""


class _TableCheck:
    """The checks of one table, in the order of its files."""

    def __init__(
        self, spec: TableSpec, report: ValidationReport, ids: IdStore, images: ImageFiles | None
    ) -> None:
        self._spec = spec
        self._report = report
        self._ids = ids
        self._images = images
        self._widths: dict[str, int] = {}
        self._unknown: set[str] = set()
        self._bad_columns: set[str] = set()  # of the file at hand, told once for all its rows

    def run(self, paths: Sequence[str]) -> None:
        """Checks all files of the table."""
        spec, report = self._spec, self._report
        report.rows[spec.name] = 0
        for path in paths:
            _log.info("validating %s", path)
            try:
                self._check_columns(path)
                for first, _, batch in iter_file_batches(spec.name, path, unknown=self._unknown):
                    report.rows[spec.name] += batch.num_rows
                    self._check_batch(batch, first, path)
            except InputError as error:
                expected = "a file that can be read"
                report.add(Problem(spec.name, None, "", str(error), expected, path, "file"))
        if spec.id_column is not None:
            self._add_duplicates(spec.id_column)
        for name in sorted(self._unknown):
            near = difflib.get_close_matches(name, spec.columns, n=1)
            hint = f"; is it meant to be {near[0]}?" if near else ""
            report.warnings.append(f"table {spec.name}: unknown column {name} is ignored{hint}")
        if spec.required and not report.rows[spec.name]:
            report.add(Problem(spec.name, None, "", "no rows", "at least one", paths[0], "missing"))

    def _check_columns(self, path: str) -> None:
        """Tells columns that are wrong as a whole: absent, or of another type."""
        self._bad_columns = set()
        stated = file_columns(path)
        if stated is None:
            return
        types = dict(stated)
        for name in self._spec.required_columns:
            if name not in types:
                self._add_column(name, "no such column", "a required column", path, "missing")
        for name, found in types.items():
            column = self._spec.column(name)
            if column is not None and found is not None and not fits(found, column.kind):
                self._add_column(name, f"type {found}", column.expected, path, "type")

    def _add_column(self, name: str, found: str, expected: str, path: str, kind: str) -> None:
        self._bad_columns.add(name)
        self._report.add(Problem(self._spec.name, None, name, found, expected, path, kind))

    def _check_batch(self, batch: pa.RecordBatch, first: int, path: str) -> None:
        table = self._spec.name
        note_widths(table, batch, self._widths)
        positions = suspicious_rows(table, batch, self._widths)
        for position in positions:
            (row,) = batch.slice(position, 1).to_pylist()
            for problem in check_row(table, row, first + position, path, self._widths):
                if problem.column not in self._bad_columns:
                    self._report.add(problem)
        self._store_ids(batch, first, path)
        for name in batch.schema.names:
            column = self._spec.column(name)
            if column is None or name == MALFORMED or name in self._bad_columns:
                continue
            for target, selected in _references(batch, name, column):
                self._check_references(name, target, selected, first, path)
        if self._images is not None and "image_paths" not in self._bad_columns:
            self._check_images(self._images, batch, first, path)

    def _store_ids(self, batch: pa.RecordBatch, first: int, path: str) -> None:
        name = self._spec.id_column
        if name is None or name in self._bad_columns or name not in batch.schema.names:
            return
        ids = batch.column(name).to_pylist()
        rows: Sequence[int] = range(first, first + len(ids))
        if batch.column(name).null_count:
            kept = [(value, row) for value, row in zip(ids, rows, strict=True) if value is not None]
            ids, rows = [value for value, _ in kept], [row for _, row in kept]
        self._ids.add(self._spec.name, ids, rows, path)

    def _check_references(
        self, column: str, target: str, selected: pa.Array, first: int, path: str
    ) -> None:
        """Tells every row of `selected` (null where the row refers elsewhere) that is unknown."""
        distinct = pc.unique(selected.drop_null()).to_pylist()
        unknown = self._ids.unknown(target, (value for value in distinct if value.strip()))
        if unknown:
            expected = f"a {TABLES[target].id_column} of table {target}"
            self._add_rows(column, "reference", selected, unknown, expected, (first, path))

    def _check_images(
        self, images: ImageFiles, batch: pa.RecordBatch, first: int, path: str
    ) -> None:
        if "image_paths" not in batch.schema.names:
            return
        lists = batch.column("image_paths")
        if lists.null_count == len(lists):
            return
        paths = pc.list_flatten(lists)
        unknown = images.unknown(pc.unique(paths.drop_null()).to_pylist())
        if unknown:
            parents = pc.list_parent_indices(lists).to_pylist()
            expected = "a file beside the tables, or a member of a *.tar there"
            place = (first, path)
            self._add_rows("image_paths", "image", paths, unknown, expected, place, parents)

    def _add_rows(
        self,
        column: str,
        kind: str,
        values: pa.Array,
        unknown: Sequence[str],
        expected: str,
        place: tuple[int, str],
        parents: Sequence[int] | None = None,
    ) -> None:
        """Adds a problem for every one of `values` that is among `unknown`."""
        matched = pc.is_in(values, value_set=pa.array(unknown, pa.string()))
        positions = pc.indices_nonzero(matched)
        table, (first, path) = self._spec.name, place

        def make(room: int) -> list[Problem]:
            made = []
            for position in positions[:room].to_pylist():
                row = first + (position if parents is None else parents[position])
                found = shown(values[position].as_py())
                made.append(Problem(table, row, column, found, expected, path, kind))
            return made

        self._report.add_many(table, column, kind, len(positions), make)

    def _add_duplicates(self, id_column: str) -> None:
        table = self._spec.name

        def make(room: int) -> list[Problem]:
            return [
                Problem(
                    table,
                    found.row,
                    id_column,
                    f"{shown(found.value)} again",
                    f"a unique id; it is in row {found.first_row} of {found.first_source} already",
                    found.source,
                    "duplicate",
                )
                for found in self._ids.duplicates(table, room)
            ]

        count = self._ids.count_duplicates(table)
        self._report.add_many(table, id_column, "duplicate", count, make)


def _references(batch: pa.RecordBatch, name: str, column: Column) -> list[tuple[str, pa.Array]]:
    """The ids that a column names, by the table they belong to; null in rows that name none."""
    array = batch.column(name)
    if column.references is not None:
        return [(column.references, array)]
    if column.type_column is None or column.type_column not in batch.schema.names:
        return []
    types = batch.column(column.type_column)
    if not pa.types.is_string(types.type):
        return []
    nothing = pa.scalar(None, pa.string())
    return [
        (table, pc.if_else(pc.equal(types, entity), array, nothing))
        for entity, table in ENTITY_TABLE.items()
    ]
