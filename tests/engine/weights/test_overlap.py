"""Tests of the measure of clean shapes: ideal scenes pass at every size, damaged ones fail."""

import random

import numpy as np
import pytest
from PIL import Image, ImageDraw

from worker.engines.pixels import resize_flat_art
from worker.weights.recipe.draw import draw
from worker.weights.recipe.overlap import match
from worker.weights.recipe.rules import judge
from worker.weights.recipe.world import RGB, Canvas, Colour, Scene, Shape, Thing, lay_out

CANVAS = Canvas()
CIRCLE, SQUARE, STAR = (
    Scene(background=Colour.BLUE, things=(Thing(shape=shape, colour=Colour.RED),))
    for shape in (Shape.CIRCLE, Shape.SQUARE, Shape.STAR)
)


def box(picture):
    """The corners of the only thing's square, and its diameter."""
    spot = picture.spots[0]
    half = spot.diameter / 2
    return spot.x - half, spot.y - half, spot.x + half, spot.y + half, spot.diameter


def bite(pen, left, top, right, _bottom, diameter):
    middle, radius = (left + right) / 2, 0.18 * diameter
    pen.ellipse((middle - radius, top - radius, middle + radius, top + radius), RGB[Colour.BLUE])


def corner(pen, left, top, _right, _bottom, diameter):
    pen.rectangle((left, top, left + diameter / 2, top + diameter / 2), RGB[Colour.RED])


def spur(pen, _left, top, right, _bottom, diameter):
    middle = top + diameter / 2
    pen.rectangle((right - 4, middle, right + 0.25 * diameter, middle + 3), RGB[Colour.RED])


def hole(pen, left, top, _right, _bottom, diameter):
    x, y = left + 0.4 * diameter, top + 0.4 * diameter
    pen.rectangle((x, y, x + 0.2 * diameter, y + 0.2 * diameter), RGB[Colour.BLUE])


def seam(pen, left, top, right, bottom, _diameter):
    pen.ellipse((left - 1, top - 1, right, bottom), outline=RGB[Colour.WHITE], width=2)


def shadow(pen, left, top, right, bottom, _diameter):
    mixture = tuple(
        round(0.7 * behind + 0.3 * thing)
        for behind, thing in zip(RGB[Colour.BLUE], RGB[Colour.RED], strict=True)
    )
    pen.ellipse((left - 9, top - 9, right + 9, bottom + 9), fill=mixture)
    pen.ellipse((left, top, right, bottom), fill=RGB[Colour.RED])


@pytest.mark.parametrize("shape", Shape)
@pytest.mark.parametrize("size", [(128, 128), (1024, 1024), (1024, 768), (576, 1024)])
def test_ideal_scenes_are_clean(shape, size):
    """Every ideal shape passes, as drawn and enlarged as a caller gets it."""
    canvas = {(1024, 768): Canvas(width=144, height=112), (576, 1024): Canvas(width=96, height=176)}
    scene = Scene(background=Colour.WHITE, things=(Thing(shape=shape, colour=Colour.PURPLE),))
    picture = draw(lay_out(scene, canvas.get(size, CANVAS), random.Random(1)))
    (found,) = match(scene, Image.fromarray(resize_flat_art(np.asarray(picture), *size)))

    assert found.is_clean
    assert found.overlap > 0.94


@pytest.mark.parametrize("scene", [CIRCLE, SQUARE])
@pytest.mark.parametrize("damage", [bite, spur, hole])
def test_damaged_scenes_fail(scene, damage):
    """A bite, a spur or a hole is found, though everything else is right."""
    picture = lay_out(scene, CANVAS, random.Random(2))
    image = draw(picture)
    damage(ImageDraw.Draw(image), *box(picture))
    verdict = judge(scene, image)

    assert (verdict.background, verdict.colour, verdict.place) == (True, True, True)
    assert not verdict.clean
    assert not verdict.is_flawless


@pytest.mark.parametrize("damage", [seam, shadow])
@pytest.mark.parametrize("size", [(128, 128), (1024, 1024)])
def test_a_halo_fails(damage, size):
    """A line of a third colour around a shape, or a glow beyond its edge, is a flaw at every size."""
    picture = lay_out(CIRCLE, CANVAS, random.Random(2))
    image = draw(picture)
    damage(ImageDraw.Draw(image), *box(picture))
    (found,) = match(CIRCLE, Image.fromarray(resize_flat_art(np.asarray(image), *size)))

    assert found.has_halo
    assert not found.is_clean


def test_a_circle_with_a_corner_fails():
    """A circle whose upper left is square is no clean circle."""
    picture = lay_out(CIRCLE, CANVAS, random.Random(2))
    image = draw(picture)
    corner(ImageDraw.Draw(image), *box(picture))

    assert not judge(CIRCLE, image).clean


@pytest.mark.parametrize("drawn", [SQUARE, STAR])
def test_another_shape_fails(drawn):
    """Another shape than the one asked for is not clean either."""
    image = draw(lay_out(drawn, CANVAS, random.Random(2)))

    assert match(CIRCLE, image)[0].overlap < 0.93


def test_a_stretched_circle_overlaps_less():
    """An ellipse is measured as what it is, against the disc of its area."""
    image = draw(lay_out(CIRCLE, CANVAS, random.Random(2)))
    stretched = image.resize((148, 128), Image.Resampling.LANCZOS)

    assert match(CIRCLE, stretched)[0].overlap < match(CIRCLE, image)[0].overlap - 0.02


def test_a_missing_thing_overlaps_nothing():
    """A thing that was not drawn has overlap 0."""
    empty = draw(lay_out(Scene(background=Colour.BLUE), CANVAS, random.Random(2)))

    assert match(CIRCLE, empty)[0].overlap == 0
