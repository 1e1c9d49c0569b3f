"""What was engaged with together: the item-to-item neighbourhood, without any content."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]


class Cooccurrence:
    """Scores of all items for a profile of items, from baskets of items seen together.

    `score(c) = sum over items i of the profile of both(i, c) / sqrt(count(i) count(c))`: baskets
    with both, over the geometric mean of the baskets with each, i.e. the cosine of the items'
    columns in the basket-item matrix.

    Args:
        basket: int `[m]`, basket of each membership, e.g. the training query.
        item: int `[m]`, its item row; an item that is in a basket twice counts once.
        num_items: number of items n.

    Raises:
        ValueError: lengths differ, or a row is out of range.

    References:
        Sarwar, Karypis, Konstan and Riedl, WWW 2001, section 3 (item-based, cosine); Linden, Smith
        and York, Amazon.com Recommendations, IEEE Internet Computing 2003.
    """

    def __init__(self, basket: npt.ArrayLike, item: npt.ArrayLike, num_items: int) -> None:
        baskets, items = np.asarray(basket, np.int64), np.asarray(item, np.int64)
        if baskets.ndim != 1 or baskets.shape != items.shape:
            raise ValueError(
                "`basket` and `item` must be vectors of one length. Received: shapes "
                f"{baskets.shape} and {items.shape}."
            )
        if items.size and not (items.min() >= 0 and items.max() < num_items):
            raise ValueError(
                f"`item` must be rows 0 to {num_items - 1}. Received: {items.min()} to "
                f"{items.max()}."
            )
        self._num_items = num_items
        pairs = np.unique(np.stack([baskets, items]), axis=1)
        _, compact = np.unique(pairs[0], return_inverse=True)
        # Items by basket, and baskets by item, each with the place where the next one begins.
        self._items = pairs[1]
        self._basket_starts = _starts(compact, compact.max(initial=-1) + 1)
        by_item = np.argsort(pairs[1], kind="stable")
        self._baskets = compact[by_item]
        self._item_starts = _starts(pairs[1][by_item], num_items)
        self.count = np.diff(self._item_starts)

    def scores(self, profile: Sequence[int] | Rows) -> Scores:
        """float64 `[n]`; 0 for items that were never together with one of the profile."""
        total = np.zeros(self._num_items)
        roots = np.sqrt(np.maximum(self.count, 1))
        for one in np.unique(np.asarray(profile, np.int64)):
            baskets = self._baskets[self._item_starts[one] : self._item_starts[one + 1]]
            together = [
                self._items[self._basket_starts[b] : self._basket_starts[b + 1]] for b in baskets
            ]
            if together:
                both = np.bincount(np.concatenate(together), minlength=self._num_items)
                total += both / (roots * roots[one])
        return total


def _starts(sorted_rows: Rows, size: int) -> Rows:
    """Place of the first of each row number in a sorted list, `[size + 1]`."""
    starts: Rows = np.searchsorted(sorted_rows, np.arange(size + 1))
    return starts
