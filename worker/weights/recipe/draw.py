"""Attempt: a laid-out picture becomes pixels, with smooth edges."""

import math
from functools import cache

from PIL import Image, ImageDraw

from worker.weights.recipe.world import RGB, Picture, Shape

SUPERSAMPLING = 4
RING_HOLE = 0.52  # of the diameter
Point = tuple[float, float]


def _star() -> list[Point]:
    return [
        (radius * math.sin(turn * math.pi / 5), -radius * math.cos(turn * math.pi / 5))
        for turn in range(10)
        for radius in [1.0 if turn % 2 == 0 else 0.45]
    ]


def _heart() -> list[Point]:
    points = []
    for step in range(64):
        t = 2 * math.pi * step / 64
        x = 16 * math.sin(t) ** 3
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((x / 16, -(y + 2.5) / 15.5))
    return points


_ARM = 0.33
OUTLINES: dict[Shape, list[Point]] = {
    Shape.SQUARE: [(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)],
    Shape.TRIANGLE: [(0.0, -0.95), (1.0, 0.85), (-1.0, 0.85)],
    Shape.STAR: _star(),
    Shape.HEART: _heart(),
    Shape.CROSS: [
        *[(-_ARM, -1.0), (_ARM, -1.0), (_ARM, -_ARM), (1.0, -_ARM), (1.0, _ARM), (_ARM, _ARM)],
        *[(_ARM, 1.0), (-_ARM, 1.0), (-_ARM, _ARM), (-1.0, _ARM), (-1.0, -_ARM), (-_ARM, -_ARM)],
    ],
    Shape.DIAMOND: [(0.0, -1.0), (0.8, 0.0), (0.0, 1.0), (-0.8, 0.0)],
}


@cache
def stencil(shape: Shape, diameter: int) -> Image.Image:
    """Give the mask of a shape, `diameter` pixels wide and high."""
    side = diameter * SUPERSAMPLING
    mask = Image.new("L", (side, side), 0)
    pen = ImageDraw.Draw(mask)
    half = side / 2
    if shape in (Shape.CIRCLE, Shape.RING):
        pen.ellipse((0, 0, side - 1, side - 1), fill=255)
    if shape is Shape.RING:
        hole = half * RING_HOLE
        pen.ellipse((half - hole, half - hole, half + hole, half + hole), fill=0)
    if shape in OUTLINES:
        pen.polygon([(half + half * x, half + half * y) for x, y in OUTLINES[shape]], fill=255)
    return mask.resize((diameter, diameter), Image.Resampling.BOX)


def draw(picture: Picture) -> Image.Image:
    """Draw a picture."""
    size = (picture.canvas.width, picture.canvas.height)
    image = Image.new("RGB", size, RGB[picture.scene.background])
    for thing, spot in zip(picture.scene.things, picture.spots, strict=True):
        mask = stencil(thing.shape, round(spot.diameter))
        corner = (round(spot.x - spot.diameter / 2), round(spot.y - spot.diameter / 2))
        image.paste(Image.new("RGB", mask.size, RGB[thing.colour]), corner, mask)
    return image
