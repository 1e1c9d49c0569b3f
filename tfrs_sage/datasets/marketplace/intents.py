"""What shoppers want: searches with a head and a tail, looks at a pin or product, interests."""

from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from tfrs_sage.datasets.marketplace.behaviour import Intents
from tfrs_sage.datasets.marketplace.latents import QUERIES, Floats, Latents, generator, zipf
from tfrs_sage.datasets.marketplace.taxonomy import COMPLEMENTS, TYPES
from tfrs_sage.datasets.marketplace.texts import query_text

# How often a search names each of `ATTRIBUTES`; a plain pattern is hardly ever asked for.
MENTION_SHARES = np.array([0.55, 0.55, 0.30, 0.15, 0.20])
PLAIN_MENTION = 0.06
HEAD_SHARE = 0.6  # of searches that repeat one of the head queries; the rest are the tail
SEARCHES_PER_HEAD_QUERY = 15
MAX_HEAD_QUERIES = 200_000
COMPLEMENT_SHARE = 0.4  # of product-to-product looks that want what goes with the product
# What pleases about a pin or product that is looked at.
LOOK_SHARES = np.array([0.9, 0.8, 0.45, 0.35, 0.5])
# What a user's interest keeps of the product that stands for it.
INTEREST_SHARES = np.array([0.8, 0.5, 0.25, 0.2, 0.6])


@dataclass(frozen=True)
class HeadQueries:
    """The searches that come again and again, with Zipf-like shares `[n]`."""

    intents: Intents
    texts: list[str]
    shares: Floats


def moments(count: int, num_days: int, random: np.random.Generator) -> Floats:
    """Times in days since the start: a little growth over the days, a peak in the evening."""
    day = np.floor(random.random(count) ** 0.9 * num_days)
    hour = random.normal(19.5, 4.5, count) % 24
    return day + hour / 24


def head_queries(latents: Latents, num_searches: int, seed: int) -> HeadQueries:
    """Draws the head of the search distribution."""
    count = int(np.clip(num_searches // SEARCHES_PER_HEAD_QUERY, 10, MAX_HEAD_QUERIES))
    random = generator(seed, QUERIES)
    intents = search_intents(latents, np.zeros(count), random)
    return HeadQueries(intents, texts_of(intents, f"{seed}/head"), zipf(count, random))


def search_intents(latents: Latents, day: Floats, random: np.random.Generator) -> Intents:
    """Searches for something like an existing product, naming some of its attributes."""
    rows = random.choice(len(latents), len(day), p=latents.popularity)
    asked = latents.attributes(rows)
    named = random.random(asked.shape) < MENTION_SHARES
    plain = asked[:, 1] == 0
    named[plain, 1] = random.random(int(plain.sum())) < PLAIN_MENTION
    return Intents(latents.product_type[rows], np.where(named, asked, -1), day)


def searches(
    latents: Latents, head: HeadQueries, day: Floats, random: np.random.Generator, salt: str
) -> tuple[Intents, list[str]]:
    """The searches at some times, and their texts.

    Args:
        salt: str. Seeds the words of the tail queries.
    """
    repeated = random.random(len(day)) < HEAD_SHARE
    place = random.choice(len(head.shares), len(day), p=head.shares)
    fresh = search_intents(latents, day, random)
    product_type = np.where(repeated, head.intents.product_type[place], fresh.product_type)
    asked = np.where(repeated[:, None], head.intents.asked[place], fresh.asked)
    tail = texts_of(fresh, salt)
    texts = [head.texts[place[i]] if repeated[i] else tail[i] for i in range(len(day))]
    return Intents(product_type, asked, day), texts


def texts_of(intents: Intents, salt: str) -> list[str]:
    """One text an intent; the same salt gives the same texts."""
    random = Random(salt)
    pairs = zip(intents.product_type.tolist(), intents.asked.tolist(), strict=True)
    return [query_text(kind, asked, random) for kind, asked in pairs]


def look_intents(
    latents: Latents, rows: NDArray[np.intp], day: Floats, random: np.random.Generator
) -> Intents:
    """Looking at a pin or a product: more like it, in the attributes that please this time."""
    asked = latents.attributes(rows)
    pleases = random.random(asked.shape) < LOOK_SHARES
    return Intents(latents.product_type[rows], np.where(pleases, asked, -1), day)


def product_intents(
    latents: Latents, rows: NDArray[np.intp], day: Floats, random: np.random.Generator
) -> Intents:
    """Looking at a product: one like it, or a thing of another type that goes with it.

    What goes with it has its colour, pattern and style; brand and material do not matter then.
    """
    alike = look_intents(latents, rows, day, random)
    partners = _partner_types()
    choice = (random.random(len(rows)) * partners[alike.product_type, 0]).astype(np.int64)
    partner = partners[alike.product_type, 1 + choice]
    crosses = random.random(len(rows)) < COMPLEMENT_SHARE
    asked = alike.asked.copy()
    asked[crosses, 2:4] = -1
    return Intents(np.where(crosses, partner, alike.product_type), asked, day)


def user_intents(
    latents: Latents, num_users: int, mean_events: float, num_days: int, random: np.random.Generator
) -> tuple[NDArray[np.intp], Intents]:
    """The events of some users, each with 2 to 5 interests that come and go.

    An interest is a product that stands for it: its type or a sister type of its department, in
    its colour, pattern and style.

    Returns:
        User number of each event, int `[n]`, and the intents, of n events.
    """
    num_interests = random.integers(2, 6, num_users)
    anchors = random.choice(len(latents), (num_users, 5), p=latents.popularity)
    centre = random.uniform(0, num_days, (num_users, 5))
    width = random.uniform(0.1, 0.5, (num_users, 5)) * num_days
    # Lognormal with mean `mean_events`: many light users, a few heavy ones.
    num_events = random.lognormal(np.log(mean_events) - 0.32, 0.8, num_users)
    user = np.repeat(np.arange(num_users), np.clip(num_events, 3, mean_events * 12).astype(int))
    interest = (random.random(len(user)) ** 1.4 * num_interests[user]).astype(np.int64)
    offset = random.normal(size=len(user)) * width[user, interest]
    # Reflected at both ends, so that no day is fuller than its neighbours.
    day = np.abs(np.floor(centre[user, interest] + offset))
    day = np.clip(num_days - 1 - np.abs(num_days - 1 - day), 0, None)
    day += (random.normal(19.5, 4.5, len(user)) % 24) / 24
    rows = anchors[user, interest]
    sisters = _sister_types()
    product_type = latents.product_type[rows]
    choice = (random.random(len(rows)) * sisters[product_type, 0]).astype(np.int64)
    strays = random.random(len(rows)) < 0.35
    product_type = np.where(strays, sisters[product_type, 1 + choice], product_type)
    cares = random.random((num_users, 5, len(INTEREST_SHARES))) < INTEREST_SHARES
    asked = np.where(cares[user, interest], latents.attributes(rows), -1)
    return user, Intents(product_type.astype(np.int32), asked, day)


def _partner_types() -> NDArray[np.int32]:
    """Types that go with each type, as length and values: int32 `[types, 1 + types]`."""
    return _table([COMPLEMENTS[each.department] for each in TYPES])


def _sister_types() -> NDArray[np.int32]:
    """Types of the same department, likewise."""
    return _table([(each.department,) for each in TYPES])


def _table(departments: list[tuple[str, ...]]) -> NDArray[np.int32]:
    table = np.zeros((len(TYPES), 1 + len(TYPES)), np.int32)
    for row, names in enumerate(departments):
        found = [i for i, each in enumerate(TYPES) if each.department in names and i != row]
        table[row, 0] = len(found)
        table[row, 1 : 1 + len(found)] = found
    return table
