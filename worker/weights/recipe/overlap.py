"""Measures how far a drawn thing is from the ideal shape: their overlap, bites or spurs at the edge, and haloes."""

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
HALO_LEVELS = 40.0  # how far a colour may be from every mixture of thing and background, of 255
GLOW_SHARE = 0.15  # of the thing's colour, beyond the largest deviation
HALO_SHARE = 0.01  # of the area: what has a halo's colours and is less than this is no flaw
MEASURED_SIDE_PX = 512  # smaller pictures are enlarged, so that a pixel's edge is no error

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """How near one thing comes to the ideal shape of the same area and centre."""

    overlap: float  # intersection over union
    is_even: bool  # no bite, corner or spur
    has_halo: bool  # a seam, glow or shadow around it

    @property
    def is_clean(self) -> bool:
        """Say whether one would call it a clean shape."""
        return self.is_even and not self.has_halo and self.overlap >= LEAST_OVERLAP


def match(scene: Scene, image: Image.Image) -> tuple[Match, ...]:
    """Compare each thing of a picture with the shape that the scene has there."""
    scale = max(1.0, MEASURED_SIDE_PX / min(image.size))
    if scale > 1:
        size = (round(image.width * scale), round(image.height * scale))
        image = image.resize(size, Image.Resampling.BICUBIC)
    pixels = np.asarray(image.convert("RGB"), dtype=np.float64)
    canvas = Canvas(width=image.width, height=image.height)
    covers = coverages(scene, pixels, canvas)
    strange = _is_strange(scene, pixels)
    return tuple(
        _compare(thing.shape, cover, strange & near)
        for thing, cover, near in zip(scene.things, covers, _sides(scene, canvas), strict=True)
    )


def _is_strange(scene: Scene, pixels: Array) -> Mask:
    """Find the pixels whose colour is no mixture of the background and one thing."""
    behind = np.array(RGB[scene.background], dtype=np.float64)
    away = pixels - behind
    distances = [np.linalg.norm(away, axis=-1)]  # of the background alone
    for thing in scene.things:
        difference = np.array(RGB[thing.colour]) - behind
        share = np.clip(away @ difference / (difference @ difference), 0, 1)
        distances.append(np.linalg.norm(away - share[..., None] * difference, axis=-1))
    strange: Mask = np.minimum.reduce(distances) > HALO_LEVELS
    return strange


def coverages(scene: Scene, pixels: Array, canvas: Canvas) -> list[Array]:
    """Return for each thing the share of its colour in each pixel, on its side of the canvas."""
    behind = np.array(RGB[scene.background], dtype=np.float64)
    covers = []
    for thing in scene.things:
        difference = np.array(RGB[thing.colour]) - behind
        share = (pixels - behind) @ difference / (difference @ difference)
        covers.append(np.clip(share, 0, 1))
    sides = _sides(scene, canvas)
    return [cover * side for cover, side in zip(covers, sides, strict=True)]


def _sides(scene: Scene, canvas: Canvas) -> list[Mask]:
    """Return for each thing the pixels that are nearer to its mark than to the other thing's."""
    rows, columns = np.indices((canvas.height, canvas.width))
    if len(scene.things) < 2:  # noqa: PLR2004  it has the canvas alone
        return [np.ones(rows.shape, dtype=bool) for _ in scene.things]
    first, second = marks(scene, canvas)
    nearer = (columns - first.x) ** 2 + (rows - first.y) ** 2 < (
        (columns - second.x) ** 2 + (rows - second.y) ** 2
    )
    return [nearer, ~nearer]


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


def _compare(shape: Shape, cover: Array, strange: Mask) -> Match:
    mask = cover > 0.5  # noqa: PLR2004  the edge is where half a pixel is covered
    area = int(mask.sum())
    if area == 0:
        return Match(overlap=0.0, is_even=False, has_halo=False)
    unit, across, along = moments(shape)
    diameter = (area / unit) ** 0.5
    rows, columns = np.nonzero(mask)
    x = float(columns.mean()) + 0.5 - across * diameter
    y = float(rows.mean()) + 0.5 - along * diameter
    ideal = _ideal(shape, x, y, diameter, mask.shape)
    overlap = float((mask & ideal).sum() / (mask | ideal).sum())
    reach = max(1, round(LARGEST_DEVIATION * diameter))
    outside, inside = ~_spread(ideal, reach), ~_spread(~ideal, reach)
    stray = (mask & outside) | (~mask & inside)
    glow = ((cover > GLOW_SHARE) & outside) | ((cover < 1 - GLOW_SHARE) & inside)
    return Match(
        overlap=overlap,
        is_even=int(stray.sum()) <= STRAY_SHARE * area,
        has_halo=int((strange | glow).sum()) > HALO_SHARE * area,
    )


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
        before, after = [(0, 0)] * 2, [slice(None)] * 2
        before[axis], after[axis] = (reach + 1, reach), slice(2 * reach + 1, None)
        sums = np.cumsum(np.pad(mask, before), axis=axis, dtype=np.int32)
        behind = [slice(None)] * 2
        behind[axis] = slice(None, -2 * reach - 1)
        mask = sums[tuple(after)] > sums[tuple(behind)]
    return mask
