"""Tests of the pixel rules on generated scenes: right images pass, wrong ones fail."""

import random
from dataclasses import replace

import pytest

from worker.weights.recipe.draw import draw
from worker.weights.recipe.edits import Edit, edit_example
from worker.weights.recipe.reading import read
from worker.weights.recipe.rules import judge, judge_edit
from worker.weights.recipe.world import (
    Canvas,
    Colour,
    Place,
    Relation,
    Sampler,
    Scene,
    Shape,
    Size,
    Thing,
    lay_out,
)

CANVASES = [Canvas(), Canvas(width=176, height=96), Canvas(width=112, height=144)]
SCENE = Scene(
    background=Colour.BLUE,
    things=(Thing(shape=Shape.CIRCLE, colour=Colour.RED, size=Size.SMALL),),
    place=Place.LEFT,
)
PAIR = Scene(
    background=Colour.WHITE,
    things=(
        Thing(shape=Shape.STAR, colour=Colour.YELLOW),
        Thing(shape=Shape.HEART, colour=Colour.BLACK),
    ),
    relation=Relation.ABOVE,
)


def drawn(scene, canvas=CANVASES[0]):
    return draw(lay_out(scene, canvas, random.Random(3)))


@pytest.mark.parametrize("canvas", CANVASES)
@pytest.mark.parametrize("count", [0, 1, 2])
def test_drawn_scenes_pass_all_rules(canvas, count):
    """A scene that is drawn as described passes every rule."""
    sampler = Sampler(random.Random(count))
    scenes = [sampler.scene(count) for _ in range(15)]

    assert all(judge(scene, drawn(scene, canvas)).is_right for scene in scenes)


@pytest.mark.parametrize("shape", Shape)
@pytest.mark.parametrize("size", Size)
def test_every_shape_is_recognised(shape, size):
    """A shape is recognised at every size."""
    scene = replace(SCENE, things=(Thing(shape=shape, colour=Colour.RED, size=size),))

    assert [shape] == [thing.shape for thing in read(drawn(scene)).things]


@pytest.mark.parametrize("colour", Colour)
def test_every_colour_is_recognised(colour):
    """A colour is recognised on a thing and in the background."""
    other = Colour.GREEN if colour is Colour.RED else Colour.RED
    on, behind = (
        read(drawn(Scene(background=b, things=(Thing(shape=Shape.SQUARE, colour=c),))))
        for b, c in ((other, colour), (colour, other))
    )

    assert (colour, colour) == (on.things[0].colour, behind.background)


@pytest.mark.parametrize(
    ("wrong", "part"),
    [
        (replace(SCENE, background=Colour.PURPLE), "background"),
        (replace(SCENE, things=(replace(SCENE.things[0], colour=Colour.ORANGE),)), "colour"),
        (replace(SCENE, things=(replace(SCENE.things[0], shape=Shape.RING),)), "shape"),
        (replace(SCENE, place=Place.CENTRE), "place"),
        (replace(SCENE, place=Place.TOP), "place"),
    ],
)
def test_wrong_property_fails_its_rule(wrong, part):
    """An image with one wrong property fails that rule and no other."""
    verdict = judge(SCENE, drawn(wrong))
    parts = {name: getattr(verdict, name) for name in ("background", "colour", "shape", "place")}

    assert {name: name != part for name in parts} == parts


def test_swapped_pair_fails_its_relation():
    """Two right things in swapped positions fail only their relation."""
    verdict = judge(PAIR, drawn(replace(PAIR, things=PAIR.things[::-1])))

    assert (verdict.is_content_right, verdict.is_right) == (True, False)


@pytest.mark.parametrize("count", [0, 1])
def test_missing_thing_fails(count):
    """An image with fewer things than described fails."""
    assert not judge(PAIR, drawn(replace(PAIR, things=PAIR.things[:count]))).is_content_right


@pytest.mark.timeout(60)
def test_edit_must_change_target_and_keep_rest():
    """The wanted edit passes, and the unedited image and one with another layout fail."""
    sampler = Sampler(random.Random(4))
    examples = [edit_example(sampler, Canvas(), edit) for edit in Edit for _ in range(4)]
    elsewhere = replace(SCENE, place=Place.RIGHT)
    target = lay_out(replace(SCENE, background=Colour.PINK), Canvas(), random.Random(1))

    assert all(judge_edit(e.target, draw(e.target)).is_right for e in examples)
    assert not any(judge_edit(e.target, draw(e.references[0])).is_right for e in examples)
    assert not judge_edit(target, drawn(replace(elsewhere, background=Colour.PINK))).is_right
