"""The rich marketplace: pins that say nothing themselves, and others who say what they are.

As on Pinterest (OmniSearchSage, arXiv 2404.16260, section 3), 29% of the pins have neither title
nor description. Here their pictures say little as well: small and without colour. What they are
can be learned from three others, each of which knows something of its own:

- *captions* know type, colour and pattern, and err in one of ten;
- *board titles* know style and material, at times colour and type, in the words of collectors;
- *past queries* know all that shoppers ask for, in their own words.

Only the data are planted; what each is worth is for a model to find.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from tfrs_sage.artefacts import MANIFEST, write_json
from tfrs_sage.datasets.marketplace.latents import PINS, Latents, generator
from tfrs_sage.datasets.marketplace.taxonomy import COLORS, MATERIALS, PATTERNS, STYLES, TYPES
from tfrs_sage.datasets.marketplace.texts import ROOMS

SILENT_SHARE = 0.29  # OmniSearchSage section 3: 71% of pins have a title or description
RIGHT_SHARE = 0.9  # of what a caption says
CAPTIONS = "enrichments/captions"  # under the folder of tables
DIM_SIDE = 20  # pixels a side that a dim picture keeps
PINS_PER_BOARD = 3  # so many pins for each board; boards hold several, so most pins are on some
_CAPTIONS = (
    "a picture of a {what}",
    "a {what} on a plain background",
    "a close up of a {what}",
    "there is a {what} in the picture",
    "a {what} in a room",
)
CAPTION_SCHEMA = pa.schema(
    [
        ("entity", pa.string()),
        ("id", pa.string()),
        ("caption", pa.string()),
        ("images", pa.list_(pa.string())),
        ("captions", pa.list_(pa.string())),
    ]
)


def silent_pins(num_pins: int, seed: int) -> NDArray[np.bool_]:
    """Which pins have no words of their own: bool `[num_pins]`."""
    return generator(seed, PINS, 1).random(num_pins) < SILENT_SHARE


def dim(picture: bytes) -> bytes:
    """A picture as a dim one: grey, and no finer than `DIM_SIDE` pixels a side."""
    with Image.open(io.BytesIO(picture)) as image:
        side = image.size
        small = image.convert("L").resize((DIM_SIDE, DIM_SIDE), Image.Resampling.BOX)
    file = io.BytesIO()
    small.resize(side, Image.Resampling.BILINEAR).convert("RGB").save(file, "JPEG", quality=82)
    return file.getvalue()


def caption(latents: Latents, row: int, random: Random) -> str:
    """What an image-to-text model says: type, colour and pattern, each right in nine of ten."""

    def said(value: int, number: int) -> int:
        return int(value) if random.random() < RIGHT_SHARE else random.randrange(number)

    color = COLORS[said(latents.color[row], len(COLORS))].name
    pattern = PATTERNS[said(latents.pattern[row], len(PATTERNS))]
    kind = TYPES[said(latents.product_type[row], len(TYPES))].name
    words = [color, "" if pattern == "plain" else pattern, kind]
    what = " ".join(word for word in words if word)
    return random.choice(_CAPTIONS).format(what=what)


def rich_board_title(
    department: str, product_type: int, asked: NDArray[np.int32], random: Random
) -> str:
    """What a collector calls a board: its style, colour and material, and a type or a room.

    Args:
        department: of its pins.
        product_type: of its pins; -1 for all of the department.
        asked: int `[5]`, in the order of `ATTRIBUTES`; -1 for any.
        random: picks the room.
    """
    color, _, material, _, style = (int(value) for value in asked)
    words = [
        STYLES[style] if style >= 0 else "",
        COLORS[color].name if color >= 0 else "",
        MATERIALS[material] if material >= 0 else "",
        TYPES[product_type].name if product_type >= 0 else random.choice(ROOMS[department]),
        random.choice(("", "", "ideas", "wish list", "inspiration")),
    ]
    title = " ".join(word for word in words if word)
    return title.capitalize() if random.random() < 0.5 else title


def write_captions(folder: Path, rows: Iterator[dict[str, Any]]) -> None:
    """Writes `CAPTIONS` as the job `captions` would: Parquet and a manifest.

    Args:
        folder: of the tables.
        rows: of `CAPTION_SCHEMA`.
    """
    place = folder / CAPTIONS
    place.mkdir(parents=True)
    table = pa.Table.from_pylist(list(rows), CAPTION_SCHEMA)
    pq.write_table(table, place / "part-00000-of-00001.parquet", compression="zstd")
    entities = table.column("entity").to_pylist()
    manifest = {
        "field": "caption",
        "entities": {name: entities.count(name) for name in sorted(set(entities))},
        "texts": len(entities),
        "captioner": {"preset": "the marketplace's own latents", "right_share": RIGHT_SHARE},
    }
    write_json(place / MANIFEST, manifest)
