"""Phrasing: a scene said in words, in many ways and several registers."""

import random
import re

from worker.weights.recipe.world import Colour, Place, Relation, Scene, Shape, Size, Thing

SHAPE_WORDS: dict[Shape, tuple[str, ...]] = {
    Shape.CIRCLE: ("disc", "dot", "ball"),
    Shape.SQUARE: ("box",),
    Shape.RING: ("donut", "hoop"),
    Shape.CROSS: ("plus", "plus sign"),
    Shape.DIAMOND: ("rhombus",),
}
COLOUR_WORDS: dict[Colour, tuple[str, ...]] = {Colour.PURPLE: ("violet",)}
SIZE_WORDS: dict[Size, tuple[str, ...]] = {
    Size.SMALL: ("little", "tiny"),
    Size.MEDIUM: ("medium-sized", "normal"),
    Size.LARGE: ("big", "huge"),
}
PLACE_WORDS: dict[Place, tuple[str, ...]] = {
    Place.CENTRE: ("in the middle", "in the center", "in the centre", "at the center"),
    Place.LEFT: ("on the left", "on the left side", "at the left"),
    Place.RIGHT: ("on the right", "on the right side", "at the right"),
    Place.TOP: ("at the top", "on top", "in the upper part"),
    Place.BOTTOM: ("at the bottom", "at the very bottom", "in the lower part"),
}
RELATION_WORDS: dict[Relation, tuple[str, ...]] = {
    Relation.LEFT: ("to the left of", "left of", "on the left of", "on the left side of"),
    Relation.RIGHT: ("to the right of", "right of", "on the right of", "on the right side of"),
    Relation.ABOVE: ("above", "over", "on top of"),
    Relation.BELOW: ("below", "under", "beneath", "underneath"),
}
OPENINGS = (
    *("draw ", "paint ", "please draw ", "show me ", "create ", "make ", "generate "),
    *("a picture of ", "an image of ", "a drawing of ", "a flat illustration of "),
    *("a minimal poster of ", "i would like to see ", "there is ", "a simple graphic of "),
)
STRAY = (
    *("high quality", "simple", "flat design", "minimalist", "clean", "4k", "vector art"),
    *(
        "sharp edges",
        "nothing else",
        "plain",
        "please",
        "beautiful",
        "highly detailed",
        "geometric",
    ),
)
BACKGROUNDS = (
    *("on a {} background", "on {}", "against a {} background", "with a {} background"),
    *("on a plain {} background", "in front of a {} background", "on a {} canvas"),
)
BACKGROUNDS_FIRST = ("on a {} background, ", "{} background, ", "a {} background with ", "on {}: ")
SYNONYM_SHARE = 0.15
STRAY_SHARE = 0.08
UNSAID_SHARE = 0.6  # of what goes without saying: medium, in the centre, on white
OPENING_SHARE = 0.5


def default_background(scene: Scene) -> Colour:
    """Give the background that a prompt which names none asks for."""
    colours = {thing.colour for thing in scene.things}
    return Colour.BLACK if Colour.WHITE in colours else Colour.WHITE


def _word(rng: random.Random, value: str, synonyms: tuple[str, ...]) -> str:
    return rng.choice(synonyms) if synonyms and rng.random() < SYNONYM_SHARE else value


def shape_word(shape: Shape, rng: random.Random) -> str:
    """Name a shape."""
    return _word(rng, shape.value, SHAPE_WORDS.get(shape, ()))


def colour_word(colour: Colour, rng: random.Random) -> str:
    """Name a colour."""
    return _word(rng, colour.value, COLOUR_WORDS.get(colour, ()))


def with_article(noun: str) -> str:
    """Put "a" or "an" before a noun."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def name_thing(thing: Thing, rng: random.Random) -> str:
    """Name a thing without its article: size, colour, shape."""
    words = [colour_word(thing.colour, rng), shape_word(thing.shape, rng)]
    if thing.size is not Size.MEDIUM or rng.random() > UNSAID_SHARE:
        words.insert(0, _word(rng, thing.size.value, SIZE_WORDS[thing.size]))
    return " ".join(words)


def _one(scene: Scene, rng: random.Random, *, article: bool) -> tuple[str, str]:
    noun = name_thing(scene.things[0], rng)
    unsaid = scene.place is Place.CENTRE and rng.random() < UNSAID_SHARE
    place = "" if unsaid else " " + rng.choice(PLACE_WORDS[scene.place])
    return (with_article(noun) if article else noun), place


def _two(scene: Scene, rng: random.Random) -> str:
    first, second = (with_article(name_thing(thing, rng)) for thing in scene.things)
    related = f"{first} {rng.choice(RELATION_WORDS[scene.relation])} {second}"
    here, there = (rng.choice(PLACE_WORDS[place]) for place in scene.places)
    ways = [related] * 4 + [
        f"{first} {here} and {second} {there}",
        f"{here} {first}, {there} {second}",
    ]
    if scene.relation is Relation.LEFT:
        ways += [f"{first} and {second}", f"{first} next to {second}"]
    return rng.choice(ways)


def describe(scene: Scene, rng: random.Random) -> str:
    """Say what a scene shows."""
    background = colour_word(scene.background, rng)
    if not scene.things:
        empty = rng.choice(("a {} background", "nothing but {}", "a plain {} picture"))
        return finish(empty.format(background), rng)
    behind = " " + rng.choice(BACKGROUNDS).format(background)
    if scene.background is default_background(scene) and rng.random() < UNSAID_SHARE:
        behind = ""
    tags = rng.random() < 0.12  # noqa: PLR2004  the register of keywords
    if len(scene.things) > 1:
        core, place = _two(scene, rng), ""
    else:
        core, place = _one(scene, rng, article=not tags)
    if tags and behind:
        text = f"{core}{',' if place else ''}{place}, {background} background"
    elif behind and rng.random() < 0.25:  # noqa: PLR2004  the background first
        text = rng.choice(BACKGROUNDS_FIRST).format(background) + core + place
    else:
        opening = rng.choice(OPENINGS) if rng.random() < OPENING_SHARE else ""
        text = opening + core + (place + behind if rng.random() < 0.7 else behind + place)  # noqa: PLR2004
    return finish(text, rng)


def _agree(text: str) -> str:
    return re.sub(r"\ba (?=orange\b)", "an ", text)


def finish(text: str, rng: random.Random) -> str:
    """Add what people add: a stray word, a full stop, a capital."""
    text = _agree(text)
    if rng.random() < STRAY_SHARE:
        text += ", " + rng.choice(STRAY)
    if rng.random() < 0.2:  # noqa: PLR2004
        text = text[0].upper() + text[1:] + "."
    return text
