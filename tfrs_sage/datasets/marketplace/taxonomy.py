"""What the synthetic shop sells: departments, product types, colours, patterns, brands.

Every name is made up or an everyday word. Order matters: latent attributes are indices into
these tuples, so a change here changes every marketplace of the same seed.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Color:
    """A colour: what it is called, other words for it, and its sRGB value."""

    name: str
    synonyms: tuple[str, ...]
    rgb: tuple[int, int, int]


@dataclass(frozen=True)
class ProductType:
    """A product type: its words, where it belongs, what it comes in.

    Attributes:
        patterned: whether it comes in patterns; a frying pan does not.
    """

    name: str
    synonyms: tuple[str, ...]
    department: str
    materials: tuple[str, ...]
    patterned: bool
    sizes: tuple[str, ...]


@dataclass(frozen=True)
class Brand:
    """A brand: one style, a few departments."""

    name: str
    style: str
    departments: tuple[str, ...]


COLORS = (
    Color("red", ("crimson", "scarlet"), (200, 32, 40)),
    Color("orange", ("tangerine",), (240, 132, 28)),
    Color("yellow", ("mustard",), (240, 205, 50)),
    Color("green", ("emerald",), (46, 140, 64)),
    Color("olive", ("khaki",), (122, 122, 52)),
    Color("teal", ("turquoise",), (24, 150, 150)),
    Color("blue", ("cobalt",), (44, 100, 208)),
    Color("navy", ("midnight",), (26, 38, 92)),
    Color("purple", ("violet", "plum"), (120, 56, 160)),
    Color("pink", ("rose", "blush"), (240, 140, 176)),
    Color("brown", ("chocolate",), (114, 70, 38)),
    Color("beige", ("cream", "sand"), (220, 198, 160)),
    Color("grey", ("gray", "charcoal"), (128, 130, 134)),
    Color("black", ("jet",), (34, 34, 36)),
)
COLOR_SHARES = (8, 5, 6, 8, 4, 5, 11, 8, 5, 7, 8, 8, 9, 8)

# Index 0 is plain: it is what a product that comes in no patterns has.
PATTERNS = ("plain", "striped", "dotted", "checked", "floral", "zigzag")
PATTERN_SYNONYMS: dict[str, tuple[str, ...]] = {
    "plain": ("solid",),
    "striped": ("stripe",),
    "dotted": ("polka dot", "spotted"),
    "checked": ("plaid", "gingham"),
    "floral": ("flowered",),
    "zigzag": ("chevron",),
}
PATTERN_SHARES = (40, 16, 12, 12, 12, 8)

STYLES = ("modern", "rustic", "vintage", "boho", "classic", "minimalist")
OCCASIONS = ("everyday", "gift", "party", "holiday", "office", "outdoor", "wedding", "guest room")

_WOOD = ("oak", "walnut", "pine", "bamboo")
_METAL = ("steel", "brass", "iron")
_FABRIC = ("cotton", "linen", "wool", "velvet")
_POTTERY = ("stoneware", "porcelain", "enamel")
_WEAR = ("cotton", "linen", "wool", "silk", "denim")
_HIDE = ("leather", "suede", "canvas")

_WIDTHS = ("80 cm", "120 cm", "160 cm", "200 cm")
_HEIGHTS = ("25 cm", "40 cm", "60 cm", "150 cm")
_CLOTHS = ("45 x 45 cm", "90 x 140 cm", "140 x 200 cm", "200 x 300 cm")
_VOLUMES = ("0.3 l", "0.5 l", "1 l", "2 l")
_WEAR_SIZES = ("XS", "S", "M", "L", "XL")
_SHOE_SIZES = ("36", "38", "40", "42", "44")
_BAG_SIZES = ("small", "medium", "large")
_ONE_SIZE = ("one size",)
SIZE_TYPES = {"Clothing": ("regular", "petite", "plus"), "Shoes": ("regular", "wide")}


def _types(
    department: str,
    sizes: tuple[str, ...],
    *rows: tuple[str, tuple[str, ...], tuple[str, ...], bool],
) -> tuple[ProductType, ...]:
    return tuple(ProductType(n, s, department, m, p, sizes) for n, s, m, p in rows)


# Within a department the first types sell most.
TYPES = (
    *_types(
        "Furniture",
        _WIDTHS,
        ("sofa", ("couch", "settee"), ("leather", *_FABRIC), True),
        ("armchair", ("lounge chair", "easy chair"), ("leather", *_FABRIC), True),
        ("coffee table", ("side table",), (*_WOOD, "glass", "marble"), False),
        ("bookshelf", ("bookcase", "shelving unit"), (*_WOOD, "steel"), False),
        ("bed", ("bed frame",), (*_WOOD, "iron"), True),
        ("desk", ("writing table", "work table"), (*_WOOD, "steel"), False),
    ),
    *_types(
        "Lighting",
        _HEIGHTS,
        ("table lamp", ("bedside lamp", "desk light"), ("ceramic", "linen", *_METAL), True),
        ("floor lamp", ("standing lamp", "tall light"), ("linen", "paper", *_METAL), True),
        ("pendant lamp", ("hanging light", "ceiling lamp"), ("glass", "rattan", *_METAL), False),
    ),
    *_types(
        "Textiles",
        _CLOTHS,
        ("cushion", ("throw pillow", "pillow"), _FABRIC, True),
        ("rug", ("carpet", "floor mat"), ("wool", "jute", "cotton"), True),
        ("curtain", ("drapes", "window panel"), ("linen", "cotton", "velvet"), True),
        ("blanket", ("throw", "coverlet"), ("wool", "cotton", "fleece"), True),
    ),
    *_types(
        "Kitchen",
        _VOLUMES,
        ("mug", ("cup", "coffee cup"), _POTTERY, True),
        ("plate", ("dish", "dinner plate"), _POTTERY, True),
        ("bowl", ("salad bowl",), (*_POTTERY, "bamboo"), True),
        ("teapot", ("tea pot",), (*_POTTERY, "iron"), True),
        ("frying pan", ("skillet",), ("iron", "steel", "aluminium"), False),
    ),
    *_types(
        "Decor",
        _HEIGHTS,
        ("vase", ("flower vase",), ("glass", "ceramic", "brass"), True),
        ("mirror", ("wall mirror", "looking glass"), (*_WOOD, "brass"), False),
        ("wall clock", ("clock",), (*_WOOD, "steel"), False),
        ("planter", ("plant pot", "flower pot"), ("terracotta", "ceramic", "concrete"), True),
        ("candle", ("pillar candle",), ("soy wax", "beeswax"), False),
    ),
    *_types(
        "Clothing",
        _WEAR_SIZES,
        ("dress", ("gown", "frock"), _WEAR, True),
        ("t-shirt", ("tee", "tshirt"), ("cotton", "linen", "viscose"), True),
        ("shirt", ("button-down", "blouse"), _WEAR, True),
        ("trousers", ("pants", "slacks"), _WEAR, True),
        ("skirt", ("midi skirt",), _WEAR, True),
        ("jacket", ("coat", "blazer"), ("denim", "leather", "wool"), True),
        ("sweater", ("jumper", "pullover"), ("wool", "cashmere", "cotton"), True),
    ),
    *_types(
        "Shoes",
        _SHOE_SIZES,
        ("sneakers", ("trainers", "running shoes"), (*_HIDE, "mesh"), False),
        ("boots", ("ankle boots",), ("leather", "suede", "rubber"), False),
        ("high heels", ("pumps", "stilettos"), ("leather", "suede", "satin"), False),
        ("sandals", ("flip flops",), ("leather", "cork", "rubber"), False),
    ),
    *_types(
        "Bags",
        _BAG_SIZES,
        ("tote bag", ("shopper",), (*_HIDE, "jute"), True),
        ("backpack", ("rucksack",), (*_HIDE, "nylon"), True),
        ("handbag", ("purse", "shoulder bag"), _HIDE, False),
        ("suitcase", ("travel case", "luggage"), ("aluminium", "nylon", "canvas"), True),
    ),
    *_types(
        "Accessories",
        _ONE_SIZE,
        ("hat", ("sun hat", "fedora"), ("straw", "wool", "felt"), False),
        ("scarf", ("shawl",), ("silk", "wool", "cashmere"), True),
        ("sunglasses", ("shades",), ("acetate", "steel"), False),
        ("watch", ("wristwatch",), ("leather", "steel"), False),
    ),
)

DEPARTMENTS = tuple(dict.fromkeys(t.department for t in TYPES))
MATERIALS = tuple(dict.fromkeys(m for t in TYPES for m in t.materials))

_HOME = ("Furniture", "Lighting", "Textiles", "Decor", "Kitchen")
_FASHION = ("Clothing", "Shoes", "Bags", "Accessories")
_BRAND_NAMES = {
    "home": (
        "Acmelle", "Nordhem", "Casavero", "Lumanto", "Hearthwell", "Fjellbo", "Tavolino",
        "Maisonette", "Kindleby", "Ostrava Living", "Domora", "Wexcombe", "Halden & Sons",
        "Pellero", "Quillmoor", "Sundaro",
    ),
    "fashion": (
        "Velmora", "Tarrant", "Lisbelle", "Corvani", "Brindle", "Marisol Studio", "Ashgrove",
        "Kestrello", "Dunmere", "Ilaria Voss", "Parkwright", "Zephine", "Montaro", "Elkstone",
    ),
}  # fmt: skip


def _brands() -> tuple[Brand, ...]:
    """Brands take styles in turn and stay within three departments of their half of the shop."""
    brands = []
    for names, departments in ((_BRAND_NAMES["home"], _HOME), (_BRAND_NAMES["fashion"], _FASHION)):
        for number, name in enumerate(names):
            own = tuple(departments[(number + step) % len(departments)] for step in range(3))
            brands.append(Brand(name, STYLES[number % len(STYLES)], own))
    return tuple(brands)


BRANDS = _brands()

# Departments whose products are bought together: product-to-product engagements cross them.
COMPLEMENTS = {
    "Furniture": ("Textiles", "Lighting", "Decor"),
    "Lighting": ("Furniture", "Decor"),
    "Textiles": ("Furniture", "Decor"),
    "Kitchen": ("Kitchen", "Decor"),
    "Decor": ("Textiles", "Lighting", "Furniture"),
    "Clothing": ("Shoes", "Bags", "Accessories"),
    "Shoes": ("Clothing", "Bags"),
    "Bags": ("Shoes", "Accessories"),
    "Accessories": ("Clothing", "Bags"),
}
