"""Words that candidates are filtered by, such as a colour: columns of codes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tfrs_sage.errors import InputError

Where = Mapping[str, str | Sequence[str]]
Mask = NDArray[np.bool_]
_ABSENT = -1


@dataclass(frozen=True)
class Attributes:
    """One word, or none, of each candidate in each of a few columns.

    Attributes:
        count: number of candidates.
        codes: int32 `[count]` of each column: place of the word in `words`, -1 for none.
        words: the distinct words of each column.
    """

    count: int
    codes: Mapping[str, NDArray[np.int32]] = field(default_factory=dict)
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, columns: Mapping[str, Sequence[str | None]] | None, count: int) -> "Attributes":
        """Codes of `columns`, each with one word or None a candidate; empty words are none.

        Raises:
            InputError: a column of another length.
        """
        codes: dict[str, NDArray[np.int32]] = {}
        words: dict[str, tuple[str, ...]] = {}
        for name, column in (columns or {}).items():
            if len(column) != count:
                raise InputError(
                    "an attribute must have one value, or None, a candidate. Received: "
                    f"{len(column)} values of {name!r} for {count} candidates."
                )
            words[name] = tuple(sorted({str(word) for word in column if word}))
            place = {word: code for code, word in enumerate(words[name])}
            found = (place[str(word)] if word else _ABSENT for word in column)
            codes[name] = np.fromiter(found, np.int32, count)
        return cls(count, codes, words)

    def to_columns(self) -> dict[str, list[str | None]]:
        """What `of` was given."""
        return {
            name: [None if code == _ABSENT else self.words[name][code] for code in codes]
            for name, codes in self.codes.items()
        }

    def matching(self, where: Where) -> Mask:
        """Which candidates have, in every named column, the word or one of the words.

        Raises:
            InputError: a column that the index was not built with.
        """
        mask = np.ones(self.count, np.bool_)
        for name, wanted in where.items():
            if name not in self.codes:
                raise InputError(
                    "a filter names attributes that the index was built with: "
                    f"{', '.join(self.codes) or 'none'}. Received: {name!r}."
                )
            accepted = {wanted} if isinstance(wanted, str) else set(wanted)
            # One entry more, which the code of no word (-1) finds.
            table = np.array([word in accepted for word in self.words[name]] + [False])
            mask &= table[self.codes[name]]
        return mask

    def select(self, rows: NDArray[np.integer]) -> "Attributes":
        """The attributes of some of the candidates."""
        return Attributes(
            len(rows), {name: codes[rows] for name, codes in self.codes.items()}, self.words
        )

    def followed_by(self, other: "Attributes") -> "Attributes":
        """These candidates, then others; the columns are this one's, absent where others lack it.

        Raises:
            InputError: the others have a column that is not here.
        """
        unknown = set(other.codes) - set(self.codes)
        if unknown:
            raise InputError(
                "the attributes of an upsert are those that the index was built with: "
                f"{', '.join(self.codes) or 'none'}. Received: {', '.join(sorted(unknown))}."
            )
        codes, words = {}, {}
        for name, mine in self.codes.items():
            theirs = other.codes.get(name, np.full(other.count, _ABSENT, np.int32))
            new = [word for word in other.words.get(name, ()) if word not in self.words[name]]
            words[name] = (*self.words[name], *new)
            place = {word: code for code, word in enumerate(words[name])}
            moved = np.array([place[w] for w in other.words.get(name, ())] + [_ABSENT], np.int32)
            codes[name] = np.concatenate([mine, moved[theirs]])
        return Attributes(self.count + other.count, codes, words)

    def save(self, file: Path) -> None:
        """A Parquet table with a dictionary-encoded column of each attribute."""
        columns = {
            name: pa.DictionaryArray.from_arrays(
                pa.array(codes, mask=codes == _ABSENT), pa.array(self.words[name], pa.string())
            )
            for name, codes in self.codes.items()
        }
        pq.write_table(pa.table(columns), file)

    @classmethod
    def load(cls, file: Path, count: int) -> "Attributes":
        """What `save` wrote.

        Raises:
            InputError: the table is of another number of candidates.
        """
        table = pq.read_table(file)
        return cls.of({name: table[name].to_pylist() for name in table.column_names}, count)
