"""What vectors, ids and queries must be before an index takes them."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfrs_sage.errors import InputError

_NAMED = 5  # so many offenders are named in an error, the rest are counted


def as_vectors(vectors: Any) -> NDArray[np.float32]:
    """Candidate vectors as contiguous float32 `[n, d]`.

    Raises:
        InputError: not two-dimensional, empty, or not finite.
    """
    array = np.ascontiguousarray(vectors, dtype=np.float32)
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(
            "`vectors` must have the shape [n, d] with at least one row and one column. "
            f"Received: shape {list(array.shape)}."
        )
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        bad = np.flatnonzero(~finite)
        raise InputError(
            "`vectors` must be finite numbers. Received: NaN or infinity in "
            f"{len(bad)} rows, the first at row {int(bad[0])}. Leave those candidates out."
        )
    return array


def as_ids(ids: Iterable[Any], count: int) -> NDArray[np.object_]:
    """Candidate ids as object `[n]` of `str`, each present once.

    Raises:
        InputError: their number differs from the vectors', an id is empty or holds a
            line break (ids are kept one a line), or some occur twice.
    """
    texts = [i.decode() if isinstance(i, bytes) else str(i) for i in ids]
    if len(texts) != count:
        raise InputError(
            f"`ids` must have one id a vector. Received: {len(texts)} ids for {count} vectors."
        )
    for row, text in enumerate(texts):
        if not text or "\n" in text or "\r" in text:
            raise InputError(
                f"an id must be a non-empty text without line breaks. Received: {text!r} at "
                f"row {row}."
            )
    if len(set(texts)) != len(texts):
        twice = [text for text, times in Counter(texts).items() if times > 1]
        more = f" and {len(twice) - _NAMED} more" if len(twice) > _NAMED else ""
        raise InputError(
            "each id must occur once, or a search would return it twice. Received: "
            f"{', '.join(repr(t) for t in twice[:_NAMED])}{more} more than once. "
            "Remove or merge the duplicates."
        )
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    return array


def as_queries(queries: Any, dimension: int) -> NDArray[np.float32]:
    """Query vectors as contiguous float32 `[num_queries, dimension]`.

    Raises:
        ValueError: another rank or width, or not finite.
    """
    array = np.ascontiguousarray(queries, dtype=np.float32)
    if array.ndim != 2 or array.shape[1] != dimension:
        raise ValueError(
            f"`queries` must have the shape [num_queries, {dimension}] of this index. "
            f"Received: shape {list(array.shape)}."
        )
    if not np.isfinite(array).all():
        raise ValueError("`queries` must be finite numbers. Received: NaN or infinity.")
    return array
