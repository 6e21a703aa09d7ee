"""The built-in model generates what the prompt says: images are requested over HTTP and checked."""

import io
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.support import processes
from tests.support.api_client import EDIT, create, data_uri, events, fetch, pixels, run, until
from tests.support.klein_server import Klein, running_klein
from worker.weights.locate import BUILT_IN
from worker.weights.recipe.reading import Seen, read
from worker.weights.recipe.world import Colour, Shape

ROOT = Path(__file__).parents[2]
NATIVE = {"width": 128, "height": 128}


@pytest.fixture(scope="module")
def studio() -> Iterator[Klein]:
    """A system that serves the built-in model."""
    with running_klein(BUILT_IN) as running:
        yield running


@pytest.fixture(scope="module")
def artist(studio: Klein) -> Iterator[httpx.Client]:
    """A client of that system."""
    with studio.client() as client:
        yield client


def generate(artist: httpx.Client, prompt: str, seed: int) -> tuple[str, Seen]:
    url = run(artist, prompt=prompt, seed=seed, image_size=NATIVE)["output"]
    return url, look(url)


def png_uri(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return data_uri(file.getvalue())


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
def test_image_matches_prompt(artist, thing, shape, background, seed):
    """Colour, background and number of things match the prompt."""
    _, content = generate(artist, f"a {thing} {shape} on a {background} background", seed)

    assert content.background == background
    assert [one.colour for one in content.things] == [thing]


def test_seeds_give_different_images(artist):
    """Two seeds give different images for the same prompt."""
    first, _ = generate(artist, "a yellow square on a black background", 1)
    second, _ = generate(artist, "a yellow square on a black background", 2)

    assert fetch(first) != fetch(second)


def test_edit_changes_requested_object(artist):
    """An object changes to the requested colour, and the background stays."""
    url, _ = generate(artist, "a red square on a white background", 1)

    edited = run(
        artist, EDIT, prompt="make the square blue", image_urls=[url], seed=1, image_size=NATIVE
    )
    content = look(edited["output"])

    assert content.background == Colour.WHITE
    assert [one.colour for one in content.things] == [Colour.BLUE]


@pytest.mark.parametrize("corner", [(256, 0, 512, 256), (0, 256, 256, 512)])
def test_mask_puts_an_object_into_a_corner(artist, corner):
    """With a corner as the mask, a blue star is drawn in that corner, and the rest keeps its pixels to 40 dB."""
    url, _ = generate(artist, "a white background", 1)
    size = {"width": 512, "height": 512}
    with Image.open(io.BytesIO(fetch(url))) as image:
        canvas = image.convert("RGB").resize((512, 512))
    mask = Image.new("L", (512, 512))
    mask.paste(255, corner)
    ended = run(
        artist,
        EDIT,
        prompt="a blue star",
        image_urls=[png_uri(canvas)],
        mask_url=png_uri(mask),
        seed=1,
        image_size=size,
    )
    after, kept = pixels(ended["output"]), np.asarray(mask) == 0
    error = np.mean((after[kept] - np.asarray(canvas, np.float64)[kept]) ** 2)
    [star] = look(ended["output"]).things

    assert error <= 255**2 / 10**4  # 40 dB
    assert (star.colour, star.shape) == (Colour.BLUE, Shape.STAR)
    assert corner[0] <= star.x <= corner[2]
    assert corner[1] <= star.y <= corner[3]


def test_strength_keeps_more_of_the_image(artist):
    """A low strength stays nearer to the image than a high one."""
    url, _ = generate(artist, "a red square on a white background", 1)
    inputs = {"prompt": "make the square blue", "image_urls": [url], "seed": 1}
    weak, strong = (
        run(artist, EDIT, **inputs, image_size=NATIVE, strength=s)["output"] for s in (0.25, 1)
    )

    assert np.abs(pixels(weak) - pixels(url)).mean() < np.abs(pixels(strong) - pixels(url)).mean()


def test_readme_shows_what_its_command_generates(artist):
    """The command of README.md generates the image that README.md shows, in the default size."""
    readme = (ROOT / "README.md").read_text()
    line = next(line for line in readme.splitlines() if line.endswith("-o circle.png"))
    _, _, prompt, option, seed, *_ = shlex.split(line)
    url = run(artist, prompt=prompt, seed=int(seed), image_size="landscape_4_3")["output"]
    with Image.open(ROOT / "docs" / "circle.png") as image:
        shown = np.asarray(image.convert("RGB"), np.float64)
    generated = pixels(url)

    assert option == "--seed"
    assert 'src="docs/circle.png"' in readme
    assert generated.shape == shown.shape == (768, 1024, 3)
    assert np.abs(generated - shown).mean() < 1  # of 255: processors round differently


def test_examples_of_page_show_what_they_say(artist):
    """Each example on the empty stage of the page generates the colours and shapes that it names."""
    page = (ROOT / "app" / "page" / "index.html").read_text()
    examples = re.findall(r'<button type="button">(.+)</button>', page.split('id="examples"')[1])

    assert len(examples) == 3
    for example in examples:
        *things, (background, _) = re.findall(r"(\w+) (\w+)(?= above| on|$)", example)
        _, seen = generate(artist, example, 1)
        assert seen.background == background, example
        assert {(thing.colour, thing.shape) for thing in seen.things} == set(things), example


def command(studio: Klein, name: str) -> str:
    """Run `klein NAME` as the operator of the system, and return what it prints."""
    completed = processes.run(
        [sys.executable, "-m", "app.cli", name],
        env=os.environ | {"KLEIN_DATA": str(studio.folder)},
        check=True,
    )
    return str(completed.stdout)


def states(artist: httpx.Client) -> list[str]:
    return [worker["state"] for worker in artist.get("/v1/status").json()["workers"]]


@pytest.mark.slow
@pytest.mark.timeout(480)  # it loads the model twice, on a busy machine too
def test_unloaded_model_is_loaded_for_next_prediction(studio, artist):
    """`klein unload` ends the engine process, and the worker still counts as ready. The next prediction loads the model, its events tell the phases, and it succeeds."""
    unloaded = command(studio, "unload")
    assert unloaded.endswith("   asleep\n")
    assert studio.part("engine") is None
    assert artist.get("/readyz").json()["status"] == "ok"
    assert artist.get("/v1/models").json()
    until(lambda: states(artist) == ["asleep"])
    prediction_id = create(
        artist, prompt="a red circle on a blue background", seed=1, image_size=NATIVE
    )
    received = list(events(artist, prediction_id))
    loading = [event.data for event in received if event.name == "loading"]
    final = received[-1].data

    assert "weights" in [data["phase"] for data in loading]
    assert all(data["expected_wait_s"] is not None for data in loading)
    assert final["status"] == "success"
    assert look(final["output"]).background == Colour.BLUE
    until(lambda: states(artist) == ["ready"])
    assert command(studio, "load").endswith("   ready\n")
