"""Reading a picture back: which background, which things, by pixels alone and no model."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from worker.weights.recipe.draw import stencil
from worker.weights.recipe.world import RGB, Colour, Shape

FOREGROUND_DISTANCE = 42.0  # half the distance of the two colours that are nearest to each other
COLOUR_DISTANCE = 60.0  # farther than this from every colour of the palette is no colour
SMALLEST_AREA_PX = 40
LEAST_FIT = 0.75
BORDER_PX = 2
_TEMPLATE_PX = 96
_HALF = 127

Pixels = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenThing:
    """One connected figure, with what it looks like most."""

    colour: Colour | None
    shape: Shape | None
    x: float
    y: float
    width: int
    height: int
    fit: float  # overlap with the shape, intersection over union


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a picture shows."""

    width: int
    height: int
    background: Colour | None
    things: tuple[SeenThing, ...]


def read(image: Image.Image) -> Seen:
    """Read a picture: the colour of its border is the background, what differs from it is a thing."""
    pixels = np.asarray(image.convert("RGB"), dtype=np.float64)
    behind = _border_colour(pixels)
    away = np.linalg.norm(pixels - behind, axis=-1)
    things = []
    for figure in _figures(away > FOREGROUND_DISTANCE):
        if figure.sum() < SMALLEST_AREA_PX:
            continue
        core = figure & (away >= np.median(away[figure]) * 0.9)
        colour = np.median(pixels[core], axis=0)
        half = figure & (away > np.linalg.norm(colour - behind) / 2)
        things.append(_see(half if half.any() else figure, colour))
    height, width = away.shape
    return Seen(width=width, height=height, background=nearest(behind), things=tuple(things))


def nearest(rgb: Pixels) -> Colour | None:
    """Give the palette's colour that is nearest to an RGB value, if any is near."""
    distances = {colour: float(np.linalg.norm(rgb - np.array(RGB[colour]))) for colour in Colour}
    best = min(distances, key=lambda colour: distances[colour])
    return best if distances[best] < COLOUR_DISTANCE else None


def _border_colour(pixels: Pixels) -> Pixels:
    edge = np.ones(pixels.shape[:2], dtype=bool)
    edge[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX] = False
    colour: Pixels = np.median(pixels[edge], axis=0)
    return colour


def _figures(mask: Mask) -> list[Mask]:
    """Split a mask into its connected parts, by spreading the smallest label to neighbours."""
    labels = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    big = mask.size + 1
    while True:
        padded = np.pad(np.where(mask, labels, big), 1, constant_values=big)
        around = [padded[1:-1, 1:-1], padded[:-2, 1:-1], padded[2:, 1:-1]]
        around += [padded[1:-1, :-2], padded[1:-1, 2:]]
        spread = np.where(mask, np.minimum.reduce(around), 0)
        if np.array_equal(spread, labels):
            break
        labels = spread
    return [labels == label for label in np.unique(labels[mask])]


def _see(figure: Mask, colour: Pixels) -> SeenThing:
    rows, columns = np.flatnonzero(figure.any(axis=1)), np.flatnonzero(figure.any(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    width, height = int(right - left), int(bottom - top)
    cut = figure[top:bottom, left:right]
    fits = {shape: _overlap(cut, _template(shape, width, height)) for shape in Shape}
    best = max(fits, key=lambda shape: fits[shape])
    return SeenThing(
        colour=nearest(colour),
        shape=best if fits[best] >= LEAST_FIT else None,
        x=(left + right) / 2,
        y=(top + bottom) / 2,
        width=width,
        height=height,
        fit=fits[best],
    )


@cache
def _template(shape: Shape, width: int, height: int) -> Mask:
    drawn = stencil(shape, _TEMPLATE_PX)
    box = drawn.point(lambda value: 255 * (value > _HALF)).getbbox()
    return np.asarray(drawn.crop(box).resize((width, height), Image.Resampling.BOX)) > _HALF


def _overlap(one: Mask, other: Mask) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))
