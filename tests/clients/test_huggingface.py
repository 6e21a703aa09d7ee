"""Hugging Face's client, with this server as the URL of its model."""

import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from tests.support.klein_server import Klein


def test_text_to_image(klein: Klein) -> None:
    """The client gets an image of the requested size, and an error that names the field."""
    client = InferenceClient(model=f"{klein.url}/hf", api_key=klein.key)
    image = client.text_to_image("a red circle", width=128, height=64, num_inference_steps=2)
    assert image.size == (128, 64)

    with pytest.raises(HfHubHTTPError, match="422"):
        client.text_to_image("a red circle", width=128, height=64, num_inference_steps=99)
