"""Tests of the training world: held-out things, descriptions and seeds."""

import random

from worker.weights.recipe.edits import Edit, edit_example, text_example
from worker.weights.recipe.phrase import describe
from worker.weights.recipe.world import (
    Canvas,
    Colour,
    Place,
    Sampler,
    Scene,
    Shape,
    Size,
    Thing,
    is_held_out,
)


def examples(seed, count=60):
    sampler = Sampler(random.Random(seed))
    texts = [text_example(sampler, Canvas()) for _ in range(count)]
    return texts + [edit_example(sampler, Canvas(), edit) for edit in Edit for _ in range(count)]


def test_each_shape_has_one_held_out_colour():
    """For each shape exactly one colour is held out of training."""
    held_out = {s: [c for c in Colour if is_held_out(Thing(shape=s, colour=c))] for s in Shape}

    assert [1] * len(Shape) == [len(colours) for colours in held_out.values()]


def test_training_has_no_held_out_things():
    """No training example has a held-out thing in its target or its references."""
    pictures = [p for e in examples(1) for p in (e.target, *e.references)]

    assert not any(is_held_out(thing) for p in pictures for thing in p.scene.things)


def test_held_out_scenes_have_only_held_out_things():
    """The held-out sampler draws only things that training never shows."""
    sampler = Sampler(random.Random(1), held_out=True)

    assert all(is_held_out(t) for _ in range(40) for t in sampler.scene(2).things)


def test_same_seed_gives_same_examples():
    """The same seed gives the same examples."""
    assert examples(5) == examples(5)


def test_things_stay_inside_canvas():
    """No thing is cut off at an edge."""
    for example in examples(2):
        for spot in example.target.spots:
            reach = spot.diameter / 2

            assert reach <= spot.x <= example.target.canvas.width - reach
            assert reach <= spot.y <= example.target.canvas.height - reach


def test_description_names_every_property():
    """Every description names the size, the colours, the shape and the place of an unusual scene."""
    scene = Scene(
        background=Colour.GREEN,
        things=(Thing(shape=Shape.STAR, colour=Colour.RED, size=Size.LARGE),),
        place=Place.LEFT,
    )
    rng = random.Random(0)

    for _ in range(200):
        words = describe(scene, rng).lower()

        assert all(word in words for word in ("green", "star", "red", "left"))
        assert any(word in words for word in ("large", "big", "huge"))
