"""Hugging Face's client, with this server as the URL of its model."""

import random
from io import BytesIO

import pytest
from huggingface_hub import ImageToImageTargetSize, InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from PIL import Image

from app.api.json_body import TEXT_MAX_BYTES
from tests.support.api_client import image_file
from tests.support.klein_server import Klein


def test_text_to_image(klein: Klein) -> None:
    """The client gets an image of the requested size, and an error that names the field."""
    client = InferenceClient(model=f"{klein.url}/hf", api_key=klein.key)
    image = client.text_to_image("a red circle", width=128, height=64, num_inference_steps=2)
    assert image.size == (128, 64)

    with pytest.raises(HfHubHTTPError, match="422"):
        client.text_to_image("a red circle", width=128, height=64, num_inference_steps=99)


def test_image_to_image(klein: Klein) -> None:
    """The client edits an image, in its size or the target size. An image that cannot be read is refused by name."""
    client = InferenceClient(model=f"{klein.url}/hf", api_key=klein.key)
    photo, large = image_file(128, 64), BytesIO()
    noise = random.Random(1).randbytes(800 * 600 * 3)
    Image.frombytes("RGB", (800, 600), noise).save(large, "PNG")

    assert len(large.getvalue()) > TEXT_MAX_BYTES
    assert client.image_to_image(photo, prompt="make it red").size == (128, 64)
    assert client.image_to_image(large.getvalue(), prompt="make it red").size == (800, 592)
    sized = client.image_to_image(
        photo, prompt="make it red", target_size=ImageToImageTargetSize(width=64, height=96)
    )
    assert sized.size == (64, 96)
    with pytest.raises(HfHubHTTPError, match="inputs: "):
        client.image_to_image(b"no image", prompt="make it red")
