"""What people write: titles and descriptions of products and pins, boards, search queries."""

from collections.abc import Sequence
from random import Random

from tfrs_sage.datasets.marketplace.latents import Latents
from tfrs_sage.datasets.marketplace.taxonomy import (
    BRANDS,
    COLORS,
    MATERIALS,
    OCCASIONS,
    PATTERN_SYNONYMS,
    PATTERNS,
    SIZE_TYPES,
    STYLES,
    TYPES,
)

TYPO_SHARE = 0.03  # of titles and queries
ROOMS = {
    "Furniture": ("living room", "bedroom", "home office"),
    "Lighting": ("lighting ideas", "cosy corner"),
    "Textiles": ("living room", "guest room", "bedding"),
    "Kitchen": ("kitchen", "dining table", "breakfast"),
    "Decor": ("home decor", "shelf styling"),
    "Clothing": ("outfits", "wardrobe", "street style"),
    "Shoes": ("shoes", "outfit ideas"),
    "Bags": ("bags", "travel"),
    "Accessories": ("accessories", "gift ideas"),
}
_TITLES = (
    "{brand} {pattern} {color} {material} {type}",
    "{style} {color} {pattern} {type} in {material} by {brand}",
    "{color} {pattern} {type} {material} {size}",
    "{brand} {type} {style} {material} {color} {pattern}",
    "{material} {type} {color} {pattern} - {brand}",
)
_SENTENCES = (
    "A {style} {type} made of {material}.",
    "This {color} {pattern} {type} goes with everything.",
    "From the {style} collection of {brand}.",
    "Perfect for {occasion}.",
    "Finished by hand in {material}.",
    "Available in {size}.",
    "Free returns within 30 days.",
    "Easy to clean and made to last.",
)
_PIN_TITLES = (
    "{style} {room} inspo",
    "love this {color} {pattern} {type}",
    "{type} ideas for {occasion}",
    "my new {style} {type}",
    "{color} {room} with {material} {type}",
)
_QUERIES = (
    "{style} {pattern} {color} {material} {type} {brand}",
    "{color} {pattern} {style} {type} {material} {brand}",
    "{brand} {style} {type} {color} {pattern} {material}",
    "{type} {color} {pattern} {material} {style} {brand}",
)


def product_texts(latents: Latents, row: int, random: Random) -> dict[str, str | None]:
    """The text columns of one product; None where the seller left a field out.

    A colour or pattern that is not `*_told` occurs in no column; a told one occurs in at least
    one, its own column.
    """
    kind = TYPES[latents.product_type[row]]
    brand = BRANDS[latents.brand[row]].name
    words = _product_words(latents, row, random)
    domain = "".join(letter for letter in brand.lower() if letter.isalnum()) + ".example"
    sizes = SIZE_TYPES.get(kind.department)
    sentences = random.sample(_SENTENCES, random.randint(2, 4))
    texts = {
        "title": _typo(_fill(random.choice(_TITLES), words), random),
        "description": " ".join(_fill(s, words, full_sentence=True) for s in sentences),
        "link_domain": domain,
        "link": f"https://{domain}/items/{row:07d}",
        "google_product_category": f"{kind.department} > {kind.name.capitalize()}",
        "product_type": kind.name,
        "brand": brand,
        "color": words["color"] or None,
        "material": words["material"],
        "pattern": words["pattern"] or None,
        "size": words["size"],
        "size_type": random.choice(sizes) if sizes else None,
    }
    kept = {
        name: None if random.random() < _MISSING[name] else text for name, text in texts.items()
    }
    return kept


# Share of sellers that leave a field out. Colour and pattern are governed by `*_told` instead.
_MISSING = {
    "title": 0.01,
    "description": 0.25,
    "link_domain": 0.05,
    "link": 0.05,
    "google_product_category": 0.15,
    "product_type": 0.10,
    "brand": 0.08,
    "color": 0.0,
    "material": 0.12,
    "pattern": 0.0,
    "size": 0.30,
    "size_type": 0.40,
}


def pin_texts(
    latents: Latents, row: int, random: Random, silent: bool | None = None
) -> dict[str, str | None]:
    """Title, description, link_domain and caption of a pin; a third have no words of their own.

    Args:
        latents: Latents. Of the pins.
        row: int.
        random: random.Random.
        silent: bool or None. Whether this one has none; None: one of the third, by chance.
    """
    words = _product_words(latents, row, random)
    told = random.random() < 0.67
    if silent is not None:
        told = not silent
    domain = "".join(c for c in BRANDS[latents.brand[row]].name.lower() if c.isalnum())
    caption = f"a picture of a {words['color']} {words['pattern']} {words['type']}"
    description = random.choice(_SENTENCES)
    return {
        "title": _typo(_fill(random.choice(_PIN_TITLES), words), random) if told else None,
        "description": (
            _fill(description, words, full_sentence=True)
            if told and random.random() < 0.5
            else None
        ),
        "link_domain": f"{domain}.example" if random.random() < 0.6 else None,
        "caption": " ".join(caption.split()) if random.random() < 0.35 else None,
    }


def query_text(product_type: int, asked: Sequence[int], random: Random) -> str:
    """A search for a type and some attributes.

    Args:
        product_type: int. Index into `TYPES`.
        asked: sequence of 5 ints, in the order of `ATTRIBUTES`; -1 is not asked for.
        random: random.Random. Picks synonyms, word order and typing errors.
    """
    color, pattern, material, brand, style = asked
    words = {
        "type": _named(TYPES[product_type].name, TYPES[product_type].synonyms, random, 0.35),
        "color": _color(color, random) if color >= 0 else "",
        "pattern": _pattern(pattern, random) if pattern >= 0 else "",
        "material": MATERIALS[material] if material >= 0 else "",
        "brand": BRANDS[brand].name.lower() if brand >= 0 else "",
        "style": STYLES[style] if style >= 0 else "",
    }
    return _typo(_fill(random.choice(_QUERIES), words), random)


def board_title(department: str, color: int, style: int, random: Random) -> str:
    """A board's title: a room or an outfit, often with its colour or style."""
    words = [
        STYLES[style] if style >= 0 else "",
        COLORS[color].name if color >= 0 else "",
        random.choice(ROOMS[department]),
        random.choice(("", "", "ideas", "wish list", "inspiration")),
    ]
    title = " ".join(word for word in words if word)
    return title.capitalize() if random.random() < 0.5 else title


def _product_words(latents: Latents, row: int, random: Random) -> dict[str, str]:
    kind = TYPES[latents.product_type[row]]
    return {
        "type": _named(kind.name, kind.synonyms, random, 0.35),
        "color": _color(latents.color[row], random) if latents.color_told[row] else "",
        "pattern": _pattern(latents.pattern[row], random) if latents.pattern_told[row] else "",
        "material": MATERIALS[latents.material[row]],
        "brand": BRANDS[latents.brand[row]].name,
        "style": STYLES[latents.style[row]],
        "size": kind.sizes[latents.size[row]],
        "occasion": random.choice(OCCASIONS),
        "room": random.choice(ROOMS[kind.department]),
    }


def _color(color: int, random: Random) -> str:
    return _named(COLORS[color].name, COLORS[color].synonyms, random, 0.2)


def _pattern(pattern: int, random: Random) -> str:
    name = PATTERNS[pattern]
    return _named(name, PATTERN_SYNONYMS[name], random, 0.25)


def _named(name: str, synonyms: tuple[str, ...], random: Random, share: float) -> str:
    return random.choice(synonyms) if random.random() < share else name


def _fill(template: str, words: dict[str, str], full_sentence: bool = False) -> str:
    """The template with its words; what is empty leaves no double space."""
    text = " ".join(template.format(**words).split()) if words else template
    if full_sentence:
        return text[0].upper() + text[1:]
    return text.removesuffix(" -").strip()


def _typo(text: str, random: Random) -> str:
    """Rarely: two letters swapped, one left out or one doubled."""
    if random.random() >= TYPO_SHARE or len(text) < 5:
        return text
    place = random.randrange(1, len(text) - 1)
    before, pair, after = text[:place], text[place : place + 2], text[place + 2 :]
    return before + random.choice((pair[::-1], pair[1:], pair[0] + pair)) + after
