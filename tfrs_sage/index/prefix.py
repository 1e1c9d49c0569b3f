"""Matryoshka prefixes: the first components of an embedding, as an embedding of their own."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfrs_sage.errors import InputError

# Below this a squared length counts as 0 and the vector stays as it is, as in the towers.
LEAST_SQUARE = 1e-12


def check_prefix(prefix: int, dimension: int) -> None:
    """Refuses a prefix that embeddings of `dimension` components do not have.

    Raises:
        InputError: it is not one of 1 to `dimension`.
    """
    if not 1 <= prefix <= dimension:
        raise InputError(
            f"a prefix must be 1 to {dimension}, the width of the embeddings. Received: {prefix}."
        )


def cut_to_prefix(vectors: Any, prefix: int | None) -> NDArray[np.float32]:
    """The first `prefix` components of each vector, L2-normalised again.

    Args:
        vectors: float `[n, d]`, of length 1 as the towers give them.
        prefix: 1 to d; None or d leaves the vectors as they are, to the bit.

    Returns:
        float32 `[n, prefix]`; a vector whose first components are all 0 stays 0.

    Raises:
        InputError: the vectors have no such prefix.

    Example:
        >>> cut_to_prefix([[0.3, 0.4, 0.5]], 2).tolist()
        [[0.6000000238418579, 0.800000011920929]]

    References:
        Kusupati et al., Matryoshka Representation Learning, NeurIPS 2022, section 3.
    """
    whole = np.asarray(vectors, np.float32)
    if prefix is None:
        return whole
    check_prefix(prefix, whole.shape[1])
    if prefix == whole.shape[1]:
        return whole
    cut = whole[:, :prefix]
    squares = np.einsum("nd,nd->n", cut, cut)[:, np.newaxis]
    shortened: NDArray[np.float32] = cut / np.sqrt(np.maximum(squares, np.float32(LEAST_SQUARE)))
    return shortened
