"""The built-in base model beside the distilled one in one worker, requested over HTTP."""

import io
from collections.abc import Iterator

import httpx
import pytest
from PIL import Image

from tests.support.api_client import create, fetch, get
from tests.support.klein_server import Klein, running_klein
from worker.weights.recipe.reading import read
from worker.weights.recipe.world import Colour, Shape

BASE = "flux-2-klein-4b-base-text-to-image"
NATIVE = {"width": 128, "height": 128}
PROMPT = "a blue square on a yellow background"


@pytest.fixture(scope="module")
def klein() -> Iterator[Klein]:
    """One worker with both built-in models, by their names."""
    with running_klein("builtin,builtin-base") as klein:
        yield klein


@pytest.fixture
def generate(client: httpx.Client):
    """Return a function that generates with the base model and returns the image."""

    def generate(prompt: str = PROMPT, **more: object) -> Image.Image:
        prediction_id = create(client, BASE, prompt=prompt, seed=4, image_size=NATIVE, **more)
        prediction = get(client, prediction_id, wait=60)
        assert prediction["status"] == "success", prediction
        return Image.open(io.BytesIO(fetch(prediction["output"]))).convert("RGB")

    return generate


def test_base_model_generates_what_the_prompt_says(generate):
    """With its own number of steps and its own guidance, the base model generates the requested shape and colours."""
    content = read(generate())

    assert content.background is Colour.YELLOW
    assert [(thing.colour, thing.shape) for thing in content.things] == [
        (Colour.BLUE, Shape.SQUARE)
    ]


def test_guidance_and_negative_prompt_change_the_image(generate):
    """The same seed gives other images with less guidance and with a negative prompt."""
    images = [
        generate(num_inference_steps=8, **more)
        for more in ({}, {"guidance_scale": 1.5}, {"negative_prompt": "a yellow background"})
    ]

    assert len({image.tobytes() for image in images}) == len(images)


def test_distilled_model_is_served_beside_it(client: httpx.Client):
    """A prediction of the distilled model, in the same worker, names that model."""
    prediction = get(
        client, create(client, "flux-2-klein-4b-text-to-image", image_size=NATIVE), wait=60
    )

    assert prediction["status"] == "success"
    assert {w["checkpoint"] for w in client.get("/v1/status").json()["workers"]} == {
        "base",
        "distilled",
    }
