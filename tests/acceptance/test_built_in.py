"""The built-in model generates what the prompt says: images are requested over HTTP and checked."""

import io
from collections.abc import Iterator

import httpx
import pytest
from PIL import Image

from tests.support.api_client import EDIT, fetch, run
from tests.support.klein_server import running_klein
from worker.main import BUILT_IN
from worker.weights.recipe.reading import Seen, read
from worker.weights.recipe.world import Colour, Shape

NATIVE = {"width": 128, "height": 128}


@pytest.fixture(scope="module")
def artist() -> Iterator[httpx.Client]:
    """A client of a system that serves the built-in model."""
    with running_klein(BUILT_IN) as running, running.client() as client:
        yield client


def draw(artist: httpx.Client, prompt: str, seed: int) -> tuple[str, Seen]:
    url = run(artist, prompt=prompt, seed=seed, image_size=NATIVE)["output"]
    return url, look(url)


def look(url: str) -> Seen:
    with Image.open(io.BytesIO(fetch(url))) as image:
        return read(image.convert("RGB"))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("thing", "shape", "background"),
    [
        (Colour.RED, Shape.CIRCLE, Colour.BLUE),
        (Colour.GREEN, Shape.SQUARE, Colour.WHITE),
        (Colour.PURPLE, Shape.TRIANGLE, Colour.ORANGE),
        (Colour.WHITE, Shape.HEART, Colour.RED),
    ],
)
def test_a_picture_shows_its_words(artist, thing, shape, background, seed):
    """Colour, background and number of things match the prompt."""
    _, content = draw(artist, f"a {thing} {shape} on a {background} background", seed)

    assert content.background == background
    assert [one.colour for one in content.things] == [thing]


def test_two_seeds_differ(artist):
    """Two seeds give different images for the same prompt."""
    first, _ = draw(artist, "a yellow square on a black background", 1)
    second, _ = draw(artist, "a yellow square on a black background", 2)

    assert fetch(first) != fetch(second)


def test_an_edit_changes_what_it_is_told_to(artist):
    """An object changes to the requested colour, and the background stays."""
    url, _ = draw(artist, "a red square on a white background", 1)

    edited = run(
        artist, EDIT, prompt="make the square blue", image_urls=[url], seed=1, image_size=NATIVE
    )
    content = look(edited["output"])

    assert content.background == Colour.WHITE
    assert [one.colour for one in content.things] == [Colour.BLUE]
