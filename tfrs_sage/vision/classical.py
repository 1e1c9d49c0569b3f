"""A 256-d image descriptor from colour, edges and layout: no weights, numpy and Pillow only.

Four blocks, each L2-normalised, weighted and concatenated (64 + 128 + 16 + 48 = 256):

1. *colours*, 64: a soft histogram over 64 colours spread evenly over CIE Lab, centre-weighted,
   with near-white background set aside. Soft assignment: Han and Ma, "Fuzzy color histogram and
   its use in color image retrieval", IEEE Trans. Image Processing 11(8), 2002.
2. *edges*, 128: histograms of 8 unsigned gradient orientations in 4 x 4 cells, the core of
   Dalal and Triggs, "Histograms of oriented gradients for human detection", CVPR 2005. They
   hold the silhouette.
3. *texture*, 16: the same 8 orientations over the whole product at two scales, each relative to
   the contrast there; "edge histogram" of MPEG-7 (Manjunath et al., IEEE Trans. Circuits and
   Systems for Video Technology 11(6), 2001). They hold the pattern (stripes, checks, plain).
4. *layout*, 48: the picture as 4 x 4 Lab averages, as MPEG-7's "colour layout".

Histograms enter as square roots, so that a dot product compares them by Hellinger's kernel
(Arandjelović and Zisserman, "Three things everyone should know to improve object retrieval",
CVPR 2012, section 3), where large bins drown small ones less.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tfrs_sage.artefacts import fingerprint
from tfrs_sage.schema.features import IMAGE_DIM
from tfrs_sage.vision.encoder import ImageEncoder

CLASSICAL = "classical"

Floats = NDArray[np.float32]

SIDE = 64  # pixels a side of what is described
NUM_COLORS = 64
COLOR_LEVELS = 16  # levels a channel of the colour look-up table
COLOR_WIDTH = 12.0  # standard deviation of the soft assignment, in Lab units (2.3 is just visible)
NUM_ORIENTATIONS = 8
NUM_CELLS = 4  # cells a side, of edges and of layout
BACKGROUND_LEVEL = 240  # pixels whose darkest channel is above it count as white background
LEAST_FOREGROUND = 0.04  # below this share the product itself is white: take all pixels
BLOCK_WEIGHTS = (1.0, 1.2, 0.4, 0.7)  # nearest neighbours then agree in both type and colour
VERSION = 1  # part of the fingerprint: raise it with any change of the numbers


class ClassicalEncoder(ImageEncoder):
    """The classical descriptor as an encoder; deterministic, milliseconds an image."""

    name = CLASSICAL
    least_side = SIDE

    def fingerprint(self) -> str:
        """See `ImageEncoder.fingerprint`; depends on this file's version only."""
        return fingerprint({"encoder": CLASSICAL, "version": VERSION, "dimension": IMAGE_DIM})

    def encode_pictures(self, pictures: Sequence[Image.Image]) -> Floats:
        """See `ImageEncoder.encode_pictures`."""
        vectors = np.empty((len(pictures), IMAGE_DIM), np.float32)
        for row, picture in enumerate(pictures):
            vectors[row] = describe(picture)
        return vectors


def describe(picture: Image.Image) -> Floats:
    """The descriptor of one RGB picture of any size: float32 `[256]` of L2 norm 1."""
    if picture.size != (SIDE, SIDE):
        # reducing_gap halves large pictures cheaply before the costly last step.
        picture = picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    pixels = np.asarray(picture, np.uint8)  # [64, 64, 3]
    weights = _pixel_weights(pixels)  # [64, 64]
    cells = _color_cells(pixels)  # [64, 64]
    edges, texture = _gradient_blocks(pixels, weights)
    blocks = (_color_block(cells, weights), edges, texture, _layout_block(cells))
    vector = np.concatenate(
        [_unit(block) * weight for block, weight in zip(blocks, BLOCK_WEIGHTS, strict=True)]
    )
    return _unit(vector)


def _unit(vector: Floats) -> Floats:
    norm = float(np.sqrt(vector @ vector))
    return vector if norm < 1e-12 else (vector / norm).astype(np.float32)


def _pixel_weights(pixels: NDArray[np.uint8]) -> Floats:
    """Weight of each pixel `[64, 64]`: high in the centre, zero on white background."""
    foreground = pixels.min(axis=2) <= BACKGROUND_LEVEL
    if foreground.mean() < LEAST_FOREGROUND:
        return _centre()
    return np.where(foreground, _centre(), np.float32(0))


@cache
def _centre() -> Floats:
    """A Gaussian bump `[64, 64]`: products stand in the middle of their pictures."""
    axis = np.linspace(-1, 1, SIDE, dtype=np.float32)
    bump = np.exp(-(axis**2) / (2 * 0.6**2))
    return np.outer(bump, bump).astype(np.float32)


def _color_cells(pixels: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Row of each pixel in the colour table: 4 bits a channel."""
    bits = (pixels >> 4).astype(np.intp)
    return (bits[..., 0] << 8) | (bits[..., 1] << 4) | bits[..., 2]


def _color_block(cells: NDArray[np.intp], weights: Floats) -> Floats:
    counts = np.bincount(cells.ravel(), weights.ravel(), COLOR_LEVELS**3).astype(np.float32)
    histogram = counts @ _soft_assignment() / max(float(counts.sum()), 1e-12)
    return np.sqrt(histogram).astype(np.float32)


def _layout_block(cells: NDArray[np.intp]) -> Floats:
    side = SIDE // NUM_CELLS
    lab = _cell_lab()[cells]  # [64, 64, 3]
    means = lab.reshape(NUM_CELLS, side, NUM_CELLS, side, 3).mean(axis=(1, 3))  # [4, 4, 3]
    # White, the usual page, is the origin: an empty corner says nothing.
    return ((means - np.array([100, 0, 0])) / 50).astype(np.float32).ravel()


def _gradient_blocks(pixels: NDArray[np.uint8], weights: Floats) -> tuple[Floats, Floats]:
    """Edges `[128]` and texture `[16]`."""
    luma = np.array([0.299, 0.587, 0.114], np.float32) / np.float32(255)
    grey: Floats = (pixels @ luma).astype(np.float32)  # [64, 64]
    orientation, strength = _gradients(grey)
    row, column = np.indices(strength.shape) * NUM_CELLS // SIDE
    place = (row * NUM_CELLS + column) * NUM_ORIENTATIONS + orientation
    size = NUM_CELLS**2 * NUM_ORIENTATIONS
    grid = np.bincount(place.ravel(), strength.ravel(), size).astype(np.float32)
    edges = np.sqrt(grid / max(float(grid.sum()), 1e-12))
    coarse: Floats = grey.reshape(SIDE // 2, 2, SIDE // 2, 2).mean(axis=(1, 3))
    textures = [
        _texture(orientation, strength, weights),
        _texture(*_gradients(coarse), weights[::2, ::2]),
    ]
    return edges.astype(np.float32), np.concatenate(textures)


def _gradients(grey: Floats) -> tuple[NDArray[np.intp], Floats]:
    """Orientation bin (0..7, unsigned) and strength of the central differences."""
    dx = np.zeros_like(grey)
    dy = np.zeros_like(grey)
    dx[:, 1:-1] = grey[:, 2:] - grey[:, :-2]
    dy[1:-1] = grey[2:] - grey[:-2]
    turns = np.arctan2(dy, dx) / np.float32(np.pi) + np.float32(1 / (2 * NUM_ORIENTATIONS))
    # Half a bin of offset, so that upright and level edges sit inside a bin, not on its border.
    orientation = np.floor(turns * NUM_ORIENTATIONS).astype(np.intp) % NUM_ORIENTATIONS
    return orientation, np.hypot(dx, dy)


def _texture(orientation: NDArray[np.intp], strength: Floats, weights: Floats) -> Floats:
    weighted = (strength * weights).ravel()
    histogram = np.bincount(orientation.ravel(), weighted, NUM_ORIENTATIONS)
    return np.sqrt(histogram / max(float(weights.sum()), 1e-12)).astype(np.float32)


@cache
def _cell_lab() -> Floats:
    """CIE Lab (D65) of the centre of each colour cell, float32 `[4096, 3]`."""
    level = (np.arange(COLOR_LEVELS) + 0.5) / COLOR_LEVELS
    rgb = np.stack(np.meshgrid(level, level, level, indexing="ij"), axis=-1).reshape(-1, 3)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    matrix = np.array(  # sRGB to XYZ over the white point, IEC 61966-2-1
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = linear @ matrix.T / np.array([0.9505, 1.0, 1.089])
    curve = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = curve.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1).astype(np.float32)


@cache
def _soft_assignment() -> Floats:
    """Share of each colour cell in each of the 64 colours, float32 `[4096, 64]`, rows sum to 1."""
    lab = _cell_lab()
    # Farthest-point sampling from white on: as even a spread over the gamut as one can have.
    centres = [COLOR_LEVELS**3 - 1]
    distance = ((lab - lab[centres[0]]) ** 2).sum(axis=1)
    while len(centres) < NUM_COLORS:
        centres.append(int(distance.argmax()))
        distance = np.minimum(distance, ((lab - lab[centres[-1]]) ** 2).sum(axis=1))
    squared = ((lab[:, None] - lab[centres][None]) ** 2).sum(axis=2)  # [4096, 64]
    nearness = np.exp(-(squared - squared.min(axis=1, keepdims=True)) / (2 * COLOR_WIDTH**2))
    return (nearness / nearness.sum(axis=1, keepdims=True)).astype(np.float32)
