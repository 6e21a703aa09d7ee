"""The ideal picture nearest to a drawn one."""

import random
from dataclasses import replace

import numpy as np
import pytest
from PIL import ImageDraw

from worker.weights.recipe.draw import draw
from worker.weights.recipe.fit import nearest_picture
from worker.weights.recipe.transformer import OTHER_CANVASES
from worker.weights.recipe.world import RGB, Canvas, Sampler, Scene, lay_out


@pytest.mark.parametrize("canvas", [Canvas(), *OTHER_CANVASES])
@pytest.mark.parametrize("count", [1, 2])
def test_an_ideal_picture_is_its_own_nearest(canvas, count):
    """Places and sizes are read back to the pixel."""
    sampler = Sampler(random.Random(count))
    for _ in range(8):
        picture = lay_out(sampler.scene(count), canvas, sampler.rng)
        pixels = np.asarray(draw(picture))

        assert nearest_picture(lay_out(picture.scene, canvas, sampler.rng), pixels) == picture


def test_a_bite_moves_the_nearest_picture_little():
    """A damaged thing is taken for the ideal one about where it is."""
    sampler = Sampler(random.Random(3))
    for _ in range(8):
        picture = lay_out(sampler.scene(1), Canvas(), sampler.rng)
        image, spot = draw(picture), picture.spots[0]
        bite = (spot.x, spot.y - spot.diameter / 2, spot.x + 5, spot.y - spot.diameter / 2 + 5)
        ImageDraw.Draw(image).rectangle(bite, RGB[picture.scene.background])
        nearest = nearest_picture(picture, np.asarray(image)).spots[0]

        assert abs(nearest.x - spot.x) <= 1
        assert abs(nearest.y - spot.y) <= 1
        assert abs(nearest.diameter - spot.diameter) <= 2


def test_what_was_not_drawn_keeps_its_spot():
    """A thing that is missing stays where it was wanted."""
    sampler = Sampler(random.Random(4))
    wanted = lay_out(sampler.scene(1), Canvas(), sampler.rng)
    empty = draw(replace(wanted, scene=Scene(background=wanted.scene.background), spots=()))

    assert nearest_picture(wanted, np.asarray(empty)) == wanted
