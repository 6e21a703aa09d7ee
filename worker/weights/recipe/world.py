"""The world the built-in model knows: scenes as they are asked for and as they are laid out."""

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

MARGIN_PX = 3
JITTER = 0.03  # of the shorter side: how far a centre moves
RESIZE = (0.95, 1.05)  # how far a diameter differs from its size's own
SIDE_FRACTIONS = (0.27, 0.5, 0.73)


class Colour(StrEnum):
    """The colours that things and backgrounds have."""

    RED = "red"
    ORANGE = "orange"
    YELLOW = "yellow"
    GREEN = "green"
    BLUE = "blue"
    PURPLE = "purple"
    PINK = "pink"
    BROWN = "brown"
    BLACK = "black"
    WHITE = "white"


class Shape(StrEnum):
    """The shapes that things have."""

    CIRCLE = "circle"
    SQUARE = "square"
    TRIANGLE = "triangle"
    STAR = "star"
    RING = "ring"
    HEART = "heart"
    CROSS = "cross"
    DIAMOND = "diamond"


class Size(StrEnum):
    """How large a thing is beside its canvas."""

    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"


class Place(StrEnum):
    """Where a thing that is alone stands."""

    CENTRE = "centre"
    LEFT = "left"
    RIGHT = "right"
    TOP = "top"
    BOTTOM = "bottom"


class Relation(StrEnum):
    """Where the first of two things stands, seen from the second."""

    LEFT = "left of"
    RIGHT = "right of"
    ABOVE = "above"
    BELOW = "below"


RGB: dict[Colour, tuple[int, int, int]] = {
    Colour.RED: (222, 38, 38),
    Colour.ORANGE: (248, 140, 28),
    Colour.YELLOW: (252, 222, 48),
    Colour.GREEN: (36, 160, 68),
    Colour.BLUE: (38, 88, 222),
    Colour.PURPLE: (128, 56, 180),
    Colour.PINK: (248, 152, 194),
    Colour.BROWN: (124, 74, 38),
    Colour.BLACK: (18, 18, 18),
    Colour.WHITE: (250, 250, 250),
}
DIAMETER_ALONE = {Size.SMALL: 0.28, Size.MEDIUM: 0.42, Size.LARGE: 0.58}
DIAMETER_IN_PAIR = {Size.SMALL: 0.25, Size.MEDIUM: 0.33, Size.LARGE: 0.42}
_COLUMN = {Place.LEFT: 0, Place.RIGHT: 2}
_ROW = {Place.TOP: 0, Place.BOTTOM: 2}
_PAIR_PLACES = {
    Relation.LEFT: (Place.LEFT, Place.RIGHT),
    Relation.RIGHT: (Place.RIGHT, Place.LEFT),
    Relation.ABOVE: (Place.TOP, Place.BOTTOM),
    Relation.BELOW: (Place.BOTTOM, Place.TOP),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """One flat figure."""

    shape: Shape
    colour: Colour
    size: Size = Size.MEDIUM


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """Where a thing was put on its canvas, in pixels."""

    x: float
    y: float
    diameter: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What a picture shows: a background and no, one or two things."""

    background: Colour
    things: tuple[Thing, ...] = ()
    place: Place = Place.CENTRE
    relation: Relation = Relation.LEFT  # read only when there are two things

    @property
    def places(self) -> tuple[Place, ...]:
        """Give the place of each thing."""
        return _PAIR_PLACES[self.relation] if len(self.things) > 1 else (self.place,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """The size of a picture in pixels."""

    width: int = 128
    height: int = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A scene with everything settled that drawing it needs."""

    scene: Scene
    spots: tuple[Spot, ...]
    canvas: Canvas


def is_held_out(thing: Thing) -> bool:
    """Say whether the recipe never trains on a thing of this shape and colour."""
    colour, shape = list(Colour).index(thing.colour), list(Shape).index(thing.shape)
    return (colour + 3 * shape) % len(Colour) == 7  # noqa: PLR2004  one colour of ten for each shape


def marks(scene: Scene, canvas: Canvas) -> tuple[Spot, ...]:
    """Return where each thing of a scene stands and how large it is, before chance moves it."""
    side = min(canvas.width, canvas.height)
    diameters = DIAMETER_IN_PAIR if len(scene.things) > 1 else DIAMETER_ALONE
    return tuple(
        Spot(
            x=canvas.width * SIDE_FRACTIONS[_COLUMN.get(place, 1)],
            y=canvas.height * SIDE_FRACTIONS[_ROW.get(place, 1)],
            diameter=side * diameters[thing.size],
        )
        for thing, place in zip(scene.things, scene.places, strict=False)
    )


def settle(mark: Spot, canvas: Canvas, *, x: float, y: float, diameter: float) -> Spot:
    """Round a thing's centre and diameter to whole pixels, as near to its mark as scenes have it."""
    side = min(canvas.width, canvas.height)
    low, high = (2 * round(mark.diameter * factor / 2) for factor in RESIZE)
    whole = min(max(2 * round(diameter / 2), low), high)
    reach = whole / 2 + MARGIN_PX

    def place(value: float, middle: float, length: int) -> float:
        value = min(max(value, middle - side * JITTER), middle + side * JITTER)
        return min(max(float(round(value)), reach), length - reach)

    return Spot(x=place(x, mark.x, canvas.width), y=place(y, mark.y, canvas.height), diameter=whole)


class Chance(Protocol):
    """What decides where things stand and how large they are."""

    def uniform(self, low: float, high: float, /) -> float:
        """Return a number of a range."""


def lay_out(scene: Scene, canvas: Canvas, chance: Chance) -> Picture:
    """Put the things of a scene on a canvas, each a little off its mark."""
    side = min(canvas.width, canvas.height)
    spots = []
    for mark in marks(scene, canvas):
        diameter = mark.diameter * chance.uniform(*RESIZE)
        x, y = (middle + side * chance.uniform(-JITTER, JITTER) for middle in (mark.x, mark.y))
        spots.append(settle(mark, canvas, x=x, y=y, diameter=diameter))
    return Picture(scene=scene, spots=tuple(spots), canvas=canvas)


@dataclass(slots=True)
class Sampler:
    """Draws scenes at random, with or without the held-out things."""

    rng: random.Random
    held_out: bool = False

    def thing(self, *, background: Colour, other_than: Thing | None = None) -> Thing:
        """Give a thing that can be seen on a background, and told from another."""
        while True:
            thing = Thing(
                shape=self.rng.choice(list(Shape)),
                colour=self.rng.choice(list(Colour)),
                size=self.rng.choice(list(Size)),
            )
            alike = other_than is not None and (
                thing.shape == other_than.shape or thing.colour == other_than.colour
            )
            if thing.colour != background and is_held_out(thing) is self.held_out and not alike:
                return thing

    def scene(self, count: int) -> Scene:
        """Give a scene of no, one or two things."""
        background = self.rng.choice(list(Colour))
        things: list[Thing] = []
        for _ in range(count):
            things.append(
                self.thing(background=background, other_than=things[0] if things else None)
            )
        return Scene(
            background=background,
            things=tuple(things),
            place=self.rng.choice(list(Place)),
            relation=self.rng.choice(list(Relation)),
        )
