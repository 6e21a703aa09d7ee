"""Judges whether an image follows its prompt, and an edit its request."""

from dataclasses import dataclass
from itertools import permutations

from PIL import Image

from worker.weights.recipe.draw import draw
from worker.weights.recipe.overlap import match
from worker.weights.recipe.reading import Seen, SeenThing, read
from worker.weights.recipe.world import Picture, Place, Relation, Scene

APART = 0.12  # of the shorter side: what two centres must differ by to be related
MOVED = 0.08  # of the shorter side: how far a thing that was to stay may be off
RESIZED = 0.25
_LOW, _HIGH = 0.42, 0.58
_CENTRAL = (0.36, 0.64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Which parts of an image are right."""

    background: bool
    colour: bool
    shape: bool
    place: bool  # of one thing its place, of two their relation
    clean: bool  # each shape overlaps the ideal one and has no bite, corner or spur

    @property
    def is_content_right(self) -> bool:
        """Return whether background, colour and shape are right."""
        return self.background and self.colour and self.shape

    @property
    def is_right(self) -> bool:
        """Return whether everything is right, however clean the shapes are."""
        return self.is_content_right and self.place

    @property
    def is_flawless(self) -> bool:
        """Return whether everything is right and every shape is clean."""
        return self.is_right and self.clean


def judge(scene: Scene, image: Image.Image) -> Verdict:
    """Compare an image with the requested scene."""
    seen = read(image)
    background = seen.background is scene.background
    if len(seen.things) != len(scene.things):
        return Verdict(background=background, colour=False, shape=False, place=False, clean=False)
    clean = all(thing.is_clean for thing in match(scene, image))
    verdicts = [
        Verdict(
            background=background,
            clean=clean,
            colour=all(s.colour is t.colour for s, t in zip(order, scene.things, strict=True)),
            shape=all(s.shape is t.shape for s, t in zip(order, scene.things, strict=True)),
            place=_stands(order, scene, seen),
        )
        for order in permutations(seen.things)
    ]
    return max(verdicts, key=lambda v: (v.colour + v.shape, v.place))


def judge_edit(target: Picture, image: Image.Image) -> Verdict:
    """Compare an edited picture with the one wanted: what was to change did, the rest stayed."""
    seen, wanted = read(image), read(draw(target))
    background = seen.background is wanted.background
    if len(seen.things) != len(wanted.things):
        return Verdict(background=background, colour=False, shape=False, place=False, clean=False)
    side = min(seen.width, seen.height)
    clean = all(thing.is_clean for thing in match(target.scene, image))
    verdicts = [
        Verdict(
            background=background,
            clean=clean,
            colour=all(s.colour is w.colour for s, w in zip(order, wanted.things, strict=True)),
            shape=all(s.shape is w.shape for s, w in zip(order, wanted.things, strict=True)),
            place=all(_stayed(s, w, side) for s, w in zip(order, wanted.things, strict=True)),
        )
        for order in permutations(seen.things)
    ]
    return max(verdicts, key=lambda v: (v.place, v.colour + v.shape))


def _stayed(seen: SeenThing, wanted: SeenThing, side: int) -> bool:
    near = max(abs(seen.x - wanted.x), abs(seen.y - wanted.y)) <= MOVED * side
    ratio = max(seen.width, seen.height) / max(wanted.width, wanted.height)
    return near and 1 - RESIZED <= ratio <= 1 + RESIZED


def _stands(things: tuple[SeenThing, ...], scene: Scene, seen: Seen) -> bool:
    if len(things) > 1:
        return _is_related(things[0], things[1], scene.relation, min(seen.width, seen.height))
    return not things or _is_at(things[0].x / seen.width, things[0].y / seen.height, scene.place)


def _is_related(one: SeenThing, other: SeenThing, relation: Relation, side: int) -> bool:
    gaps = {
        Relation.LEFT: other.x - one.x,
        Relation.RIGHT: one.x - other.x,
        Relation.ABOVE: other.y - one.y,
        Relation.BELOW: one.y - other.y,
    }
    return gaps[relation] > APART * side


def _is_at(x: float, y: float, place: Place) -> bool:
    across, along = (y, x) if place in (Place.TOP, Place.BOTTOM) else (x, y)
    ends = {
        Place.LEFT: across < _LOW,
        Place.TOP: across < _LOW,
        Place.RIGHT: across > _HIGH,
        Place.BOTTOM: across > _HIGH,
        Place.CENTRE: _CENTRAL[0] <= across <= _CENTRAL[1],
    }
    return ends[place] and _CENTRAL[0] <= along <= _CENTRAL[1]
