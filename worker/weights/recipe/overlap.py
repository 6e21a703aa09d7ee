"""Measures how far a drawn thing is from the ideal shape: their overlap, and bites or spurs at the edge."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from worker.weights.recipe.draw import OUTLINES, RING_HOLE, stencil
from worker.weights.recipe.world import RGB, Canvas, Scene, Shape, marks

LEAST_OVERLAP = 0.93
LARGEST_DEVIATION = 0.06  # of the diameter: how far an edge may be from the ideal one
STRAY_SHARE = 0.002  # of the area: less than this beyond the largest deviation is no flaw
MEASURED_SIDE_PX = 512  # smaller pictures are enlarged, so that a pixel's edge is no error

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """How near one thing comes to the ideal shape of the same area and centre."""

    overlap: float  # intersection over union
    is_even: bool  # no bite, corner or spur

    @property
    def is_clean(self) -> bool:
        """Say whether one would call it a clean shape."""
        return self.is_even and self.overlap >= LEAST_OVERLAP


def match(scene: Scene, image: Image.Image) -> tuple[Match, ...]:
    """Compare each thing of a picture with the shape that the scene has there."""
    scale = max(1.0, MEASURED_SIDE_PX / min(image.size))
    if scale > 1:
        size = (round(image.width * scale), round(image.height * scale))
        image = image.resize(size, Image.Resampling.BICUBIC)
    pixels = np.asarray(image.convert("RGB"), dtype=np.float64)
    covers = coverages(scene, pixels, Canvas(width=image.width, height=image.height))
    return tuple(
        _compare(thing.shape, cover > 0.5)  # noqa: PLR2004  the edge is where half a pixel is covered
        for thing, cover in zip(scene.things, covers, strict=True)
    )


def coverages(scene: Scene, pixels: Array, canvas: Canvas) -> list[Array]:
    """Return for each thing the share of its colour in each pixel, on its side of the canvas."""
    behind = np.array(RGB[scene.background], dtype=np.float64)
    covers = []
    for thing in scene.things:
        difference = np.array(RGB[thing.colour]) - behind
        share = (pixels - behind) @ difference / (difference @ difference)
        covers.append(np.clip(share, 0, 1))
    if len(covers) > 1:
        first, second = marks(scene, canvas)
        rows, columns = np.indices(covers[0].shape)
        nearer = (columns - first.x) ** 2 + (rows - first.y) ** 2 < (
            (columns - second.x) ** 2 + (rows - second.y) ** 2
        )
        covers = [covers[0] * nearer, covers[1] * ~nearer]
    return covers


@cache
def moments(shape: Shape) -> tuple[float, float, float]:
    """Return area and centre of a shape of diameter 1, the centre seen from its spot."""
    side = 400
    ideal = np.asarray(stencil(shape, side), dtype=np.float64) / 255
    rows, columns = np.indices(ideal.shape)
    area = ideal.sum()
    across = (ideal * (columns + 0.5)).sum() / area / side - 0.5
    along = (ideal * (rows + 0.5)).sum() / area / side - 0.5
    return float(area / side**2), float(across), float(along)


def _compare(shape: Shape, mask: Mask) -> Match:
    area = int(mask.sum())
    if area == 0:
        return Match(overlap=0.0, is_even=False)
    unit, across, along = moments(shape)
    diameter = (area / unit) ** 0.5
    rows, columns = np.nonzero(mask)
    x = float(columns.mean()) + 0.5 - across * diameter
    y = float(rows.mean()) + 0.5 - along * diameter
    ideal = _ideal(shape, x, y, diameter, mask.shape)
    overlap = float((mask & ideal).sum() / (mask | ideal).sum())
    reach = max(1, round(LARGEST_DEVIATION * diameter))
    beyond = mask & ~_spread(ideal, reach)
    missing = ~mask & ~_spread(~ideal, reach)
    is_even = int(beyond.sum()) + int(missing.sum()) <= STRAY_SHARE * area
    return Match(overlap=overlap, is_even=is_even)


def _ideal(shape: Shape, x: float, y: float, diameter: float, size: tuple[int, ...]) -> Mask:
    half = diameter / 2
    if shape in OUTLINES:
        mask = Image.new("1", (size[1], size[0]), 0)
        points = [(x + half * px - 0.5, y + half * py - 0.5) for px, py in OUTLINES[shape]]
        ImageDraw.Draw(mask).polygon(points, fill=1)
        return np.asarray(mask)
    rows, columns = np.indices(size)
    distance = np.hypot(columns + 0.5 - x, rows + 0.5 - y)
    hole = half * RING_HOLE if shape is Shape.RING else 0.0
    whole: Mask = (distance <= half) & (distance >= hole)
    return whole


def _spread(mask: Mask, reach: int) -> Mask:
    """Grow a mask by a square of `reach` pixels to each side."""
    for axis in (0, 1):
        grown = mask.copy()
        for step in range(1, reach + 1):
            ahead, behind = [slice(None)] * 2, [slice(None)] * 2
            ahead[axis], behind[axis] = slice(step, None), slice(None, -step)
            grown[tuple(ahead)] |= mask[tuple(behind)]
            grown[tuple(behind)] |= mask[tuple(ahead)]
        mask = grown
    return mask
