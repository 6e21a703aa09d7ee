"""LoRAs over HTTP: used by name, refused by name, and never fatal to the engine."""

from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.support.api_client import order, pixels, run
from tests.support.klein_server import running_klein
from tests.support.lora_files import write_lora
from tests.support.static_server import serving_files


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving_files(tmp_path_factory.mktemp("served")) as server:
        yield server


@pytest.fixture(scope="module")
def lora_client(tiny_weights, tmp_path_factory, server):
    folder: Path = tmp_path_factory.mktemp("loras")
    write_lora(folder / "ink.safetensors")
    whole = (folder / "ink.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(whole[:-9])
    write_lora(folder / "other.safetensors", prefix="unet")
    with (
        running_klein(
            tiny_weights,
            KLEIN_LORAS=str(folder),
            KLEIN_LORA_SOURCES="127.0.0.1",
            KLEIN_ALLOW_HOSTS="127.0.0.1",
        ) as klein,
        klein.client() as client,
    ):
        yield client


def image(client: httpx.Client, **inputs):
    return pixels(run(client, seed=7, **inputs)["output"])


def test_lora_changes_image(lora_client):
    """The LoRA changes the image, and the next request without one gives the plain model's image again."""
    without_lora = image(lora_client)
    with_lora = image(lora_client, loras=[{"path": "ink.safetensors", "scale": 2}])

    assert not np.array_equal(without_lora, with_lora)
    assert np.array_equal(without_lora, image(lora_client))


@pytest.mark.parametrize("name", ["missing.safetensors", "cut.safetensors", "other.safetensors"])
def test_unusable_lora_is_refused(lora_client, name):
    """The request is a 400 that names the field, and the same worker generates the next image."""
    answer = lora_client.post("/v1/prediction/run", json=order(loras=[{"path": name}]))

    assert answer.status_code == 400
    assert "loras[0].path" in answer.text
    assert image(lora_client).any()


@pytest.mark.parametrize("path", ["../ink.safetensors", "https://x.y/ink.safetensors", "ink.bin"])
def test_lora_path_is_refused(lora_client, path):
    """Anything but a name in the folder is a 400 that names the field."""
    body = order(loras=[{"path": "ink.safetensors"}, {"path": path}])
    answer = lora_client.post("/v1/prediction", json=body)

    assert answer.status_code == 400
    assert "loras[1].path" in answer.text


def test_lora_by_url_equals_file_of_folder(lora_client, server):
    """A LoRA named by its URL gives the image of the same file in the folder."""
    write_lora(server.folder / "remote ink.safetensors")
    url = f"{server.url}/remote%20ink.safetensors"

    by_name = image(lora_client, loras=[{"path": "ink.safetensors", "scale": 2}])
    by_url = image(lora_client, loras=[{"path": url, "scale": 2}])

    assert np.array_equal(by_name, by_url)
    assert not np.array_equal(by_url, image(lora_client))
    listed = lora_client.get("/v1/loras").json()
    assert url in [lora["name"] for lora in listed]
