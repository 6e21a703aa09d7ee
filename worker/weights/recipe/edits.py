"""Edits: pictures before, what is asked, and the picture after."""

import random
from dataclasses import dataclass, replace
from enum import StrEnum

from worker.weights.recipe.phrase import colour_word, describe, finish, shape_word, with_article
from worker.weights.recipe.world import (
    Canvas,
    Colour,
    Picture,
    Sampler,
    Scene,
    Shape,
    Thing,
    is_held_out,
    lay_out,
)


class Edit(StrEnum):
    """What an edit changes."""

    RECOLOUR = "recolour"
    RESHAPE = "reshape"
    BACKGROUND = "background"
    REMOVE = "remove"
    COLOUR_FROM_SECOND = "colour from image 2"
    BACKGROUND_FROM_SECOND = "background from image 2"


ONE_REFERENCE = (Edit.RECOLOUR, Edit.RESHAPE, Edit.BACKGROUND, Edit.REMOVE)
TWO_REFERENCES = (Edit.COLOUR_FROM_SECOND, Edit.BACKGROUND_FROM_SECOND)
_RECOLOUR = (
    *("make the {} {}", "change the {} to {}", "turn the {} {}", "paint the {} {}"),
    *("change the colour of the {} to {}", "change the color of the {} to {}", "recolor the {} {}"),
)
_RESHAPE = (
    "turn the {} into {}",
    "replace the {} with {}",
    "change the {} to {}",
    "make the {} {}",
)
_BACKGROUND = (
    *("make the background {}", "change the background to {}", "turn the background {}"),
    *("put it on a {} background", "set the background to {}", "use a {} background"),
)
_REMOVE = ("remove the {}", "delete the {}", "take the {} away", "erase the {}", "drop the {}")
_COLOUR_FROM_SECOND = (
    "the shape of image 1 in the colour of image 2",
    "the shape of image 1 in the color of image 2",
    "give image 1 the colour of image 2",
    "use the color of image 2 for the shape in image 1",
    "the shape from image 1 with the colour from image 2",
)
_BACKGROUND_FROM_SECOND = (
    "image 1 on the background of image 2",
    "put the shape of image 1 on the background of image 2",
    "give image 1 the background of image 2",
    "the shape from image 1 with the background from image 2",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One thing to learn or to measure: a prompt, its references and the picture wanted."""

    prompt: str
    target: Picture
    references: tuple[Picture, ...] = ()
    edit: Edit | None = None


def text_example(sampler: Sampler, canvas: Canvas, *, count: int | None = None) -> Example:
    """Give a picture asked for in words; `count` things, or mostly one or two."""
    if count is None:
        count = sampler.rng.choices((0, 1, 2), (2, 40, 58))[0]
    scene = sampler.scene(count)
    picture = lay_out(scene, canvas, sampler.rng)
    return Example(prompt=describe(scene, sampler.rng), target=picture)


def edit_example(sampler: Sampler, canvas: Canvas, edit: Edit) -> Example:
    """Give an edit of a random picture."""
    while True:
        example = _attempt(sampler, canvas, edit)
        if example is not None and _is_allowed(example, held_out=sampler.held_out):
            return example


def _is_allowed(example: Example, *, held_out: bool) -> bool:
    if example.target == example.references[0]:
        return False
    things = example.target.scene.things
    seen = [thing.colour != example.target.scene.background for thing in things]
    return all(seen) and (held_out or not any(is_held_out(thing) for thing in things))


def _attempt(sampler: Sampler, canvas: Canvas, edit: Edit) -> Example | None:
    rng = sampler.rng
    if edit in TWO_REFERENCES:
        return _from_two(sampler, canvas, edit)
    before = lay_out(sampler.scene(rng.choice((1, 2))), canvas, rng)
    scene = before.scene
    index = rng.randrange(len(scene.things))
    thing = scene.things[index]
    name = _point_at(thing, rng)
    if edit is Edit.RECOLOUR:
        colour = rng.choice([c for c in Colour if c not in (thing.colour, scene.background)])
        prompt = rng.choice(_RECOLOUR).format(name, colour_word(colour, rng))
        after = _change(before, index, replace(thing, colour=colour))
    elif edit is Edit.RESHAPE:
        shape = rng.choice([s for s in Shape if s is not thing.shape])
        prompt = rng.choice(_RESHAPE).format(name, with_article(shape_word(shape, rng)))
        after = _change(before, index, replace(thing, shape=shape))
    elif edit is Edit.BACKGROUND:
        background = rng.choice([c for c in Colour if c is not scene.background])
        prompt = rng.choice(_BACKGROUND).format(colour_word(background, rng))
        after = replace(before, scene=replace(scene, background=background))
    else:
        prompt = rng.choice(_REMOVE).format(name)
        after = _without(before, index)
    return Example(prompt=finish(prompt, rng), target=after, references=(before,), edit=edit)


def _from_two(sampler: Sampler, canvas: Canvas, edit: Edit) -> Example | None:
    rng = sampler.rng
    first, second = (lay_out(sampler.scene(1), canvas, rng) for _ in range(2))
    if edit is Edit.COLOUR_FROM_SECOND:
        prompt = rng.choice(_COLOUR_FROM_SECOND)
        colour = second.scene.things[0].colour
        after = _change(first, 0, replace(first.scene.things[0], colour=colour))
    else:
        prompt = rng.choice(_BACKGROUND_FROM_SECOND)
        after = replace(first, scene=replace(first.scene, background=second.scene.background))
    return Example(prompt=finish(prompt, rng), target=after, references=(first, second), edit=edit)


def _point_at(thing: Thing, rng: random.Random) -> str:
    shape = shape_word(thing.shape, rng)
    return f"{colour_word(thing.colour, rng)} {shape}" if rng.random() < 0.4 else shape  # noqa: PLR2004


def _change(picture: Picture, index: int, thing: Thing) -> Picture:
    things = tuple(thing if i == index else t for i, t in enumerate(picture.scene.things))
    return replace(picture, scene=replace(picture.scene, things=things))


def _without(picture: Picture, index: int) -> Picture:
    scene: Scene = picture.scene
    kept = [i for i in range(len(scene.things)) if i != index]
    things = tuple(scene.things[i] for i in kept)
    place = scene.places[kept[0]] if kept else scene.place
    return replace(
        picture,
        scene=replace(scene, things=things, place=place),
        spots=tuple(picture.spots[i] for i in kept),
    )
