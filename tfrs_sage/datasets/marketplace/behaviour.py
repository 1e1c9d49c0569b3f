"""How shoppers act: an intent meets a ranked page of candidates, and a funnel of actions follows.

A candidate is looked at with a chance that falls with its position, clicked with a chance that
rises with how much of the *whole* intent it meets (colour and pattern, which a picture shows;
material, brand and style, which a text tells); clicks become saves, carts and checkouts. So no
single modality can explain the engagements.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tfrs_sage.datasets.marketplace.latents import Floats, Ints, Latents
from tfrs_sage.datasets.marketplace.taxonomy import COLORS, TYPES

ACTIONS = ("click", "save", "add_to_cart", "checkout")
# How much each of `ATTRIBUTES` matters to a shopper who asked for it.
ATTRIBUTE_WEIGHTS = np.array([3.0, 2.5, 2.0, 1.5, 1.0])
NUM_CANDIDATES = 40  # found for one event, half of them in the right colour
ENOUGH_SHARE = 0.33  # of shoppers who stop after a click
PAGE = 12  # positions that a shopper sees
UNSPECIFIC_MATCH = 0.66  # "sofa" and nothing else: any sofa is a fair answer


@dataclass(frozen=True)
class Intents:
    """What is wanted, and when: `[n]` columns, `asked` int32 `[n, 5]` with -1 for no matter."""

    product_type: Ints
    asked: Ints
    day: Floats

    def __len__(self) -> int:
        return len(self.product_type)


@dataclass(frozen=True)
class Actions:
    """What was done: row of the intent, row of the candidate, index into `ACTIONS`, when."""

    event: NDArray[np.intp]
    candidate: NDArray[np.intp]
    action: Ints
    day: Floats


class Shelf:
    """Candidates sorted by type and colour, drawn in proportion to popularity.

    Args:
        latents: Latents. Of the candidates.
    """

    def __init__(self, latents: Latents) -> None:
        self.latents = latents
        key = latents.product_type * len(COLORS) + latents.color
        self._order = np.argsort(key, kind="stable")
        self._mass = np.concatenate([[0.0], np.cumsum(latents.popularity[self._order])])
        self._start = np.searchsorted(key[self._order], np.arange(len(TYPES) * len(COLORS) + 1))

    def draw(
        self, product_type: Ints, color: Ints, count: int, random: np.random.Generator
    ) -> NDArray[np.intp]:
        """Candidates `[n, count]` of a type, and of a colour where that is not -1.

        -1 fills the rows of a type of which there is nothing.
        """
        first = product_type * len(COLORS)
        low, high = self._start[first], self._start[first + len(COLORS)]
        exact = np.maximum(color, 0) + first
        has = (color >= 0) & (self._start[exact] < self._start[exact + 1])
        low = np.where(has, self._start[exact], low)
        high = np.where(has, self._start[exact + 1], high)
        start, end = self._mass[low], self._mass[high]
        mass = start[:, None] + random.random((len(low), count)) * (end - start)[:, None]
        place = np.searchsorted(self._mass, mass, side="right") - 1
        place = np.clip(place, low[:, None], np.maximum(high, 1)[:, None] - 1)
        return np.where((low < high)[:, None], self._order[place], -1)


def engage(
    shelf: Shelf,
    intents: Intents,
    random: np.random.Generator,
    last_action: str = "checkout",
    own: NDArray[np.intp] | None = None,
    own_wanted: bool = False,
) -> Actions:
    """Shows each intent a page of candidates and returns what was done.

    Args:
        shelf: Shelf. What can be shown.
        intents: Intents, of n events.
        random: numpy Generator.
        last_action: str. Where the funnel ends: nobody buys a pin.
        own: int `[n]` or None. A candidate that belongs to the query itself.
        own_wanted: bool. Whether `own` is a right answer (the product that a pin shows) or
            must not be shown (the product one is looking at).
    """
    rows = _candidates(shelf, intents, random)
    if own is not None and own_wanted:
        rows[:, 0] = own
    hidden = (rows < 0) | _repeated(rows)
    hidden |= shelf.latents.launch_day[rows] > intents.day[:, None]
    if own is not None and not own_wanted:
        hidden |= rows == own[:, None]
    match = match_share(shelf.latents.attributes(rows), intents.asked)  # [n, c]
    ranking = match + 0.2 * random.gumbel(size=match.shape)  # a search engine that errs
    ranking[hidden] = -np.inf
    page = np.argsort(-ranking, axis=1, kind="stable")[:, :PAGE]
    rows = np.take_along_axis(rows, page, axis=1)
    match = np.take_along_axis(match, page, axis=1)
    hidden = np.take_along_axis(hidden, page, axis=1)
    looked = 1 / (1 + 0.12 * np.arange(PAGE))
    wanted = 0.8 / (1 + np.exp(-10 * (match - 0.75)))
    clicked = ~hidden & (random.random(match.shape) < looked * wanted)
    # A shopper has seen enough after about three clicks, however large the shop.
    enough = random.geometric(ENOUGH_SHARE, len(intents))
    clicked &= np.cumsum(clicked, axis=1) <= enough[:, None]
    event, position = np.nonzero(clicked)
    return _funnel(
        event,
        rows[event, position],
        match[event, position],
        intents.day[event],
        last_action,
        random,
    )


def match_share(attributes: Ints, asked: Ints) -> Floats:
    """Weighted share of what was asked for that a candidate has.

    Args:
        attributes: int `[n, c, 5]`, of the candidates.
        asked: int `[n, 5]`; -1 asks nothing.

    Returns:
        float64 `[n, c]` in 0..1; `UNSPECIFIC_MATCH` where nothing was asked for.
    """
    weights = ATTRIBUTE_WEIGHTS * (asked >= 0)  # [n, 5]
    met = (attributes == asked[:, None]) * weights[:, None]  # [n, c, 5]
    total = weights.sum(axis=1)[:, None]
    share: Floats = met.sum(axis=2) / np.maximum(total, 1e-9)
    return np.where(total > 0, share, UNSPECIFIC_MATCH)


def _candidates(shelf: Shelf, intents: Intents, random: np.random.Generator) -> NDArray[np.intp]:
    half = NUM_CANDIDATES // 2
    any_color = np.full(len(intents), -1, np.int32)
    exact = shelf.draw(intents.product_type, intents.asked[:, 0], half, random)
    wide = shelf.draw(intents.product_type, any_color, NUM_CANDIDATES - half, random)
    return np.concatenate([exact, wide], axis=1)


def _repeated(rows: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Marks all but the first occurrence of a value in each row."""
    order = np.argsort(rows, axis=1, kind="stable")
    ordered = np.take_along_axis(rows, order, axis=1)
    again = np.zeros(rows.shape, bool)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    marks = np.zeros(rows.shape, bool)
    np.put_along_axis(marks, order, again, axis=1)
    return marks


def _funnel(
    event: NDArray[np.intp],
    candidate: NDArray[np.intp],
    match: Floats,
    day: Floats,
    last_action: str,
    random: np.random.Generator,
) -> Actions:
    """Clicks, and what became of them; each step is rarer than the one before."""
    count = len(event)
    saved = random.random(count) < 0.10 + 0.30 * match
    carted = random.random(count) < 0.05 + 0.22 * match
    bought = carted & (random.random(count) < 0.45)
    steps = (np.ones(count, bool), saved, carted, bought)
    minutes = np.cumsum(random.exponential([0.2, 0.5, 3.0, 20.0], (count, 4)), axis=1)
    rows, actions, days = [], [], []
    for number, done in enumerate(steps[: ACTIONS.index(last_action) + 1]):
        rows.append(np.nonzero(done)[0])
        actions.append(np.full(len(rows[-1]), number, np.int32))
        days.append(day[done] + minutes[done, number] / (24 * 60))
    row = np.concatenate(rows)
    return Actions(event[row], candidate[row], np.concatenate(actions), np.concatenate(days))
