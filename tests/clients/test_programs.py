"""The requests of programs, as their sources build them, and the parts of the answers that these programs read.

Read on 2026-11-29, in copies of unknown age: open-webui/open-webui backend/open_webui/routers/images.py, SillyTavern/SillyTavern
src/endpoints/stable-diffusion.js and what its page sends there, danny-avila/LibreChat api/app/clients/tools/structured, and
n8n-io/n8n packages/@n8n/nodes-langchain/nodes/vendors/OpenAi.
"""

import base64
import json
from typing import Any

import httpx
import pytest

from tests.support.api_client import fetch, image_file, until
from tests.support.klein_server import Klein

OPENAI = "/openai/v1"
IMAGE = image_file(128, 64)
PNG = b"\x89PNG"


@pytest.fixture
def client(klein: Klein) -> Any:
    """A client of HTTP without a key."""
    with httpx.Client(base_url=klein.url, timeout=90, trust_env=False) as client:
        yield client


@pytest.fixture
def bearer(klein: Klein) -> dict[str, str]:
    return {"Authorization": f"Bearer {klein.key}"}


@pytest.fixture
def basic(klein: Klein) -> dict[str, str]:
    """The header that `user:KEY` in a field for authentication becomes."""
    pair = base64.b64encode(f"user:{klein.key}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def decoded(answer: httpx.Response) -> list[bytes]:
    """Return the files in the answer of an OpenAI route. The clients take these from `b64_json`."""
    assert answer.status_code == 200, answer.text
    return [base64.b64decode(image["b64_json"])[:4] for image in answer.json()["data"]]


def test_open_webui_with_openai(client: httpx.Client, bearer: dict[str, str]) -> None:
    """It generates by JSON, edits by a form with `image` for one and `image[]` for several, and reads `b64_json` or `url`."""
    body = {"model": "dall-e-2", "prompt": "a red circle", "n": 1, "size": "512x512"}
    asked = body | {"response_format": "b64_json"}
    assert decoded(client.post(f"{OPENAI}/images/generations", json=asked, headers=bearer)) == [PNG]
    by_model = body | {"model": "gpt-image-1"}
    made = client.post(f"{OPENAI}/images/generations", json=by_model, headers=bearer)
    assert decoded(made) == [PNG]
    form = {"model": "dall-e-2", "prompt": "make it red", "n": "1", "response_format": "b64_json"}
    for names in (["image"], ["image[]", "image[]"]):
        files = [(name, ("image.png", IMAGE, "image/png")) for name in names]
        edited = client.post(f"{OPENAI}/images/edits", data=form, files=files, headers=bearer)
        assert decoded(edited) == [PNG]


def test_open_webui_with_automatic1111(client: httpx.Client, basic: dict[str, str]) -> None:
    """It checks the connection by the options, which it sends back with a model, and reads `images` and `info`."""
    options = client.get("/sdapi/v1/options", headers=basic).json()
    [model] = client.get("/sdapi/v1/sd-models", headers=basic).json()
    assert {"title", "model_name"} <= set(model)
    options["sd_model_checkpoint"] = model["title"]
    unchanged = client.post("/sdapi/v1/options", json=options, headers=basic)
    assert (unchanged.status_code, unchanged.json()) == (200, {})
    other = client.post("/sdapi/v1/options", json={"sd_vae": "sdxl.vae"}, headers=basic).json()
    assert other == {"klein_notes": ["WARNING: 'sd_vae' has no effect here"]}
    body = {"prompt": "a red circle", "batch_size": 1, "width": 512, "height": 512, "steps": 2}
    body |= {
        "negative_prompt": "blue",
        "scheduler": "Simple",
        "sampler_name": "Euler",
        "cfg_scale": 1,
    }
    answer = client.post("/sdapi/v1/txt2img", json=body, headers=basic).json()

    assert [base64.b64decode(image)[:4] for image in answer["images"]] == [PNG]
    assert isinstance(answer["info"], str)


def test_sillytavern(client: httpx.Client, basic: dict[str, str]) -> None:
    """It reads the lists and the progress, and sends its own settings along with those of the web UI."""
    for path, key in (
        ("upscalers", "name"),
        ("latent-upscale-modes", "name"),
        ("sd-vae", "model_name"),
        ("samplers", "name"),
        ("schedulers", "name"),
        ("sd-models", "title"),
    ):
        listed = client.get(f"/sdapi/v1/{path}", headers=basic).json()
        assert all(isinstance(item[key], str) for item in listed)
    options = client.get("/sdapi/v1/options", headers=basic).json()
    assert "forge_preset" not in options
    chosen = {"sd_model_checkpoint": options["sd_model_checkpoint"]}
    assert client.post("/sdapi/v1/options", json=chosen, headers=basic).status_code == 200
    progress = client.get("/sdapi/v1/progress", headers=basic).json()
    assert (progress["progress"], progress["state"]["job_count"]) == (0.0, 0)
    body = {
        "url": str(client.base_url),
        "auth": "user:KEY",
        "prompt": "a red circle",
        "negative_prompt": "blue",
        "sampler_name": "Euler",
        "scheduler": "simple",
        "steps": 20,
        "cfg_scale": 7,
        "width": 512,
        "height": 512,
        "restore_faces": False,
        "enable_hr": False,
        "hr_upscaler": "Latent",
        "hr_scale": 1,
        "hr_additional_modules": [],
        "denoising_strength": 0.7,
        "hr_second_pass_steps": 0,
        "override_settings": {"CLIP_stop_at_last_layers": 1},
        "override_settings_restore_afterwards": True,
        "clip_skip": 1,
        "save_images": True,
        "send_images": True,
        "do_not_save_grid": False,
        "do_not_save_samples": False,
    }
    [image] = client.post("/sdapi/v1/txt2img", json=body, headers=basic).json()["images"]
    assert base64.b64decode(image).startswith(PNG)
    assert client.post("/sdapi/v1/interrupt", headers=basic).status_code == 200


def test_librechat_with_stable_diffusion(client: httpx.Client, klein: Klein) -> None:
    """It has no field for a key, which stands in the URL, and reads seed and size from the JSON in `info`."""
    body = {"prompt": "a red circle", "negative_prompt": "blue", "cfg_scale": 4.5, "steps": 22}
    url = klein.url.replace("//", f"//user:{klein.key}@")
    answer = client.post(f"{url}/sdapi/v1/txt2img", json=body | {"width": 1024, "height": 1024})
    info = json.loads(answer.json()["info"])

    assert base64.b64decode(answer.json()["images"][0]).startswith(PNG)
    assert (info["width"], info["height"], isinstance(info["seed"], int)) == (1024, 1024, True)
    assert isinstance(info["infotexts"][0], str)


def test_librechat_with_flux(client: httpx.Client, klein: Klein) -> None:
    """It names models of Black Forest Labs, polls `get_result` by the id and fetches `sample`."""
    key = {"x-key": klein.key}
    body = {"prompt": "a red circle", "prompt_upsampling": False, "safety_tolerance": 6}
    body |= {"output_format": "png", "width": 512, "height": 512}
    created = client.post("/bfl/v1/flux-pro-1.1", json=body, headers=key).json()

    def ready() -> Any:
        answer = client.get("/bfl/v1/get_result", params={"id": created["id"]}, headers=key).json()
        return answer["status"] == "Ready" and answer

    result = until(ready)
    assert fetch(result["result"]["sample"]).startswith(PNG)
    assert (
        result["details"]["notes"][0]
        == "flux-pro-1.1 is not served here: flux-2-klein-4b drew this"
    )


def test_librechat_with_openai(client: httpx.Client, bearer: dict[str, str]) -> None:
    """Its tool for dall-e-3 reads a URL. That for gpt-image-1 reads `b64_json`, of edits too."""
    dall_e = {"model": "dall-e-3", "quality": "standard", "style": "vivid", "n": 1}
    asked = dall_e | {"prompt": "a red circle", "size": "1024x1024"}
    answer = client.post(f"{OPENAI}/images/generations", json=asked, headers=bearer)
    assert fetch(answer.json()["data"][0]["url"]).startswith(PNG)
    gpt = {"model": "gpt-image-1", "prompt": "a red circle", "n": 1, "background": "auto"}
    gpt |= {"output_format": "png", "quality": "auto", "size": "auto"}
    assert decoded(client.post(f"{OPENAI}/images/generations", json=gpt, headers=bearer)) == [PNG]
    form = {"model": "gpt-image-1", "prompt": "make it red", "quality": "auto", "size": "auto"}
    files = [("image[]", ("image.png", IMAGE, "image/png"))]
    edited = client.post(f"{OPENAI}/images/edits", data=form, files=files, headers=bearer)
    assert decoded(edited) == [PNG]


def test_n8n(client: httpx.Client, bearer: dict[str, str]) -> None:
    """It lists the models, generates for each one that it offers, and edits with numbers as text."""
    listed = client.get(f"{OPENAI}/models", headers=bearer).json()["data"]
    assert {"dall-e-2", "dall-e-3", "gpt-image-1"} <= {model["id"] for model in listed}
    path = f"{OPENAI}/images/generations"
    prompt = {"prompt": "a red circle"}
    dall_e = prompt | {"model": "dall-e-3", "quality": "hd", "style": "vivid", "size": "1024x1024"}
    by_file = dall_e | {"response_format": "b64_json"}
    assert decoded(client.post(path, json=by_file, headers=bearer)) == [PNG]
    by_url = client.post(path, json=dall_e | {"response_format": "url"}, headers=bearer).json()
    assert fetch(by_url["data"][0]["url"]).startswith(PNG)
    gpt = prompt | {"model": "gpt-image-1", "quality": "medium", "size": "1024x1024"}
    assert decoded(client.post(path, json=gpt, headers=bearer)) == [PNG]
    form = {"model": "gpt-image-1", "prompt": "make it red", "n": "1", "size": "1536x1024"}
    form |= {"quality": "high", "background": "transparent", "input_fidelity": "high"}
    form |= {"output_format": "webp", "output_compression": "85"}
    files = [("image[]", (f"{k}.png", IMAGE, "image/png")) for k in range(2)]
    edited = client.post(f"{OPENAI}/images/edits", data=form, files=files, headers=bearer)
    assert decoded(edited) == [b"RIFF"]
    dall_e_2 = {"model": "dall-e-2", "prompt": "make it red", "n": "1", "size": "256x256"}
    edited = client.post(
        f"{OPENAI}/images/edits",
        data=dall_e_2 | {"response_format": "url", "user": "me"},
        files={"image": ("image.png", IMAGE, "image/png")},
        headers=bearer,
    )
    assert fetch(edited.json()["data"][0]["url"]).startswith(PNG)
