"""LoRAs over HTTP: used by name, refused by name, and never fatal to the engine."""

from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.support.api_client import order, pixels, run
from tests.support.klein_server import running_klein
from tests.support.lora_files import write_lora


@pytest.fixture(scope="module")
def lora_client(tiny_weights, tmp_path_factory):
    folder: Path = tmp_path_factory.mktemp("loras")
    write_lora(folder / "ink.safetensors")
    whole = (folder / "ink.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(whole[:-9])
    write_lora(folder / "other.safetensors", prefix="unet")
    with running_klein(tiny_weights, KLEIN_LORAS=str(folder)) as klein, klein.client() as client:
        yield client


def picture(client: httpx.Client, **inputs):
    return pixels(run(client, seed=7, **inputs)["output"])


def test_a_lora_is_drawn_with_by_its_name(lora_client):
    """The LoRA changes the image, and the next request without one gives the plain model's image again."""
    bare = picture(lora_client)
    inked = picture(lora_client, loras=[{"path": "ink.safetensors", "scale": 2}])

    assert not np.array_equal(bare, inked)
    assert np.array_equal(bare, picture(lora_client))


@pytest.mark.parametrize("name", ["missing.safetensors", "cut.safetensors", "other.safetensors"])
def test_an_unusable_lora_ends_its_prediction_alone(lora_client, name):
    """The error names the file, and the same worker generates the next image."""
    answer = lora_client.post("/v1/prediction/run", json=order(loras=[{"path": name}])).json()

    assert answer["status"] == "failed"
    assert name in answer["error"]
    assert picture(lora_client).any()


@pytest.mark.parametrize("path", ["../ink.safetensors", "https://x.y/ink.safetensors", "ink.bin"])
def test_only_a_name_is_taken(lora_client, path):
    """Anything but a file name without a path is a 400 that names the field."""
    body = order(loras=[{"path": "ink.safetensors"}, {"path": path}])
    answer = lora_client.post("/v1/prediction", json=body)

    assert answer.status_code == 400
    assert "loras[1].path" in answer.text
