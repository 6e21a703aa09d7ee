"""Edits with a mask and a strength: through the hosted API, and in the words of the other dialects."""

import base64
import io
import json
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from PIL import Image

from tests.support.api_client import EDIT, TEXT, create, data_uri, fetch, get, order, pixels, run
from tests.support.klein_server import Klein

SIZE = (128, 96)
BOX = (64, 32, 128, 96)
KEPT = np.ones((SIZE[1], SIZE[0]), bool)
KEPT[BOX[1] : BOX[3], BOX[0] : BOX[2]] = False
WHOLE: dict[str, Any] = {"prompt": "a blue star", "image_size": None, "num_inference_steps": 2}


def encoded(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def picture() -> Image.Image:
    """Return an image of random colours, so that a moved pixel shows."""
    rng = np.random.default_rng(1)
    return Image.fromarray(rng.integers(0, 255, (SIZE[1], SIZE[0], 3), np.uint8))


def mask(inside: Any = 255, rest: Any = 0, mode: str = "L") -> bytes:
    image = Image.new(mode, SIZE, rest)
    image.paste(inside, BOX)
    return encoded(image)


PICTURE = encoded(picture())
ORIGINAL = np.asarray(picture(), float)


def is_kept(shown: "np.ndarray[Any, Any]") -> bool:
    """Return whether an image equals the original outside the mask, and differs inside."""
    return bool((shown[KEPT] == ORIGINAL[KEPT]).all() and (shown[~KEPT] != ORIGINAL[~KEPT]).any())


def opened(data: bytes) -> "np.ndarray[Any, Any]":
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"), float)


def test_mask_keeps_the_rest(client: httpx.Client) -> None:
    """Each image changes inside the mask alone, and the same seed gives the same bytes."""
    inputs = WHOLE | {"image_urls": [data_uri(PICTURE)], "mask_url": data_uri(mask())}
    first, second = run(client, EDIT, **inputs, seed=1, num_images=2)["output"]
    again = run(client, EDIT, **inputs, seed=2)["output"]

    assert is_kept(pixels(first))
    assert is_kept(pixels(second))
    assert fetch(second) == fetch(again)
    assert fetch(first) != fetch(second)


def test_uploaded_mask(client: httpx.Client) -> None:
    """An uploaded mask works as its bytes do, and the prediction shows its URL."""
    body = {"content_type": "image/png"}
    upload = client.post("/v1/upload/presign", json=body).json()
    put = httpx.put(
        upload["presigned_url"],
        content=mask(),
        headers=upload["required_headers"],
        trust_env=False,
    )
    assert put.status_code == 200
    ended = run(
        client, EDIT, **WHOLE, image_urls=[data_uri(PICTURE)], mask_url=upload["public_url"]
    )

    assert is_kept(pixels(ended["output"]))
    shown = get(client, ended["predictionID"])["input"]
    assert shown["mask_url"] == upload["public_url"]


def test_mask_is_shown_and_deleted_with_its_prediction(client: httpx.Client) -> None:
    """A mask that came as a data URI is shown as a URL, which ends when the prediction is deleted."""
    ended = run(
        client,
        EDIT,
        **WHOLE,
        image_urls=[data_uri(PICTURE)],
        mask_url=data_uri(mask()),
    )
    url = get(client, ended["predictionID"])["input"]["mask_url"]

    assert (opened(fetch(url))[..., 0] == opened(mask())[..., 0]).all()
    assert client.delete(f"/v1/prediction/{ended['predictionID']}").status_code == 204
    assert httpx.get(url, trust_env=False).status_code == 404


def test_image_may_be_its_own_mask(client: httpx.Client) -> None:
    """The same data URI as image and as mask is read twice."""
    large = encoded(Image.effect_noise((320, 320), 80))  # its data URI goes to a file
    ended = run(client, EDIT, **WHOLE, image_urls=[data_uri(large)], mask_url=data_uri(large))

    assert pixels(ended["output"]).shape == (320, 320, 3)


def test_strength(client: httpx.Client) -> None:
    """A strength changes the image, and is shown. 1 is the default."""
    inputs = WHOLE | {"image_urls": [data_uri(PICTURE)], "seed": 1}
    weak = run(client, EDIT, **inputs, strength=0.5)
    strong, default = run(client, EDIT, **inputs, strength=1), run(client, EDIT, **inputs)

    assert fetch(weak["output"]) != fetch(strong["output"])
    assert fetch(default["output"]) == fetch(strong["output"])
    assert get(client, weak["predictionID"])["input"]["strength"] == 0.5


@pytest.mark.parametrize(
    ("model", "values", "field", "message"),
    [
        (TEXT, {"mask_url": data_uri(mask())}, "mask_url", "no image to mask"),
        (EDIT, {"mask_url": data_uri(mask())}, "image_urls", "required"),
        (EDIT, {"strength": 0}, "strength", "at least 0.01"),
        (EDIT, {"strength": 1.5}, "strength", "at most 1"),
        (EDIT, {"mask_url": data_uri(mask(0))}, "mask_url", "wholly black"),
        (EDIT, {"mask_url": data_uri(b"text")}, "mask_url", "not a supported image"),
        (EDIT, {"mask_url": data_uri(mask()[:99])}, "mask_url", "truncated or damaged"),
        (EDIT, {"mask_url": "corner.png"}, "mask_url", "not a URL"),
        (EDIT, {"mask_url": "http://10.0.0.1/a.png"}, "mask_url", "could not be fetched"),
        (EDIT, {"mask_url": 5}, "mask_url", "must be a string"),
    ],
)
def test_wrong_value_is_named(
    client: httpx.Client, model: str, values: dict[str, Any], field: str, message: str
) -> None:
    """A wrong mask or strength is a 400 that names the field and what to do."""
    images = {} if field == "image_urls" else {"image_urls": [data_uri(PICTURE)]}
    answer = client.post("/v1/prediction", json=order(model, **WHOLE | images | values))

    assert answer.status_code == 400
    [problem] = answer.json()["details"]
    assert problem["field"] == field
    assert message in problem["message"]


def test_strict_server_takes_mask_and_strength(varied_client: httpx.Client) -> None:
    """A server that refuses unknown fields takes these, also with the base model."""
    prediction_id = create(
        varied_client,
        "flux-2-klein-4b-base-edit",
        **WHOLE,
        image_urls=[data_uri(PICTURE)],
        mask_url=data_uri(mask()),
        strength=0.5,
        guidance_scale=3,
    )
    ended = get(varied_client, prediction_id, wait=60)

    assert ended["status"] == "success", ended
    assert is_kept(pixels(ended["output"]))


def test_models_show_both_fields(client: httpx.Client) -> None:
    """The schema of an edit has both fields, that of text to image neither."""
    fields = {
        slug: client.get(f"/v1/models/{slug}").json()["request_schema"]["properties"]
        for slug in (EDIT, TEXT)
    }

    assert fields[EDIT]["mask_url"]["type"] == "string"
    assert (fields[EDIT]["strength"]["type"], fields[EDIT]["strength"]["default"]) == ("number", 1)
    assert not {"mask_url", "strength"} & set(fields[TEXT])


@pytest.mark.parametrize("is_json", [False, True])
def test_openai_mask(klein: Klein, is_json: bool) -> None:
    """OpenAI's mask redraws what is transparent in it, sent as a file or as JSON. One without alpha is refused."""
    transparent = mask((255, 255, 255, 0), (0, 0, 0, 255), "RGBA")
    body = {"model": "flux-2-klein-4b", "prompt": "a blue star", "num_inference_steps": 2}
    with openai.OpenAI(api_key=klein.key, base_url=f"{klein.url}/openai/v1") as vendor:
        if is_json:
            answer = vendor.post(
                "/images/edits",
                cast_to=openai.types.ImagesResponse,
                body=body
                | {
                    "images": [{"image_url": data_uri(PICTURE)}],
                    "mask": {"image_url": data_uri(transparent)},
                },
            )
        else:
            answer = vendor.images.edit(
                image=("a.png", PICTURE),
                mask=("m.png", transparent),
                model="flux-2-klein-4b",
                prompt="a blue star",
                extra_body={"num_inference_steps": 2},
            )
            with pytest.raises(openai.BadRequestError, match="no alpha channel") as caught:
                vendor.images.edit(image=PICTURE, mask=mask(), prompt="x")
            assert caught.value.param == "mask"

    assert answer.data
    assert is_kept(opened(base64.b64decode(answer.data[0].b64_json or "")))


@pytest.mark.parametrize("is_inverted", [False, True])
def test_web_ui_mask(client: httpx.Client, is_inverted: bool) -> None:
    """The mask of Stable Diffusion web UI redraws what is white in it, or inverted what is black."""
    white = mask(0, 255) if is_inverted else mask()
    body = {
        "prompt": "a blue star",
        "init_images": [base64.b64encode(PICTURE).decode()],
        "mask": base64.b64encode(white).decode(),
        "mask_blur": 0,
        "inpainting_mask_invert": int(is_inverted),
        "denoising_strength": 0.75,
        "width": SIZE[0],
        "height": SIZE[1],
        "steps": 4,
        "tiling": True,
    }
    answer = client.post("/sdapi/v1/img2img", json=body)

    assert answer.status_code == 200, answer.text
    assert is_kept(opened(base64.b64decode(answer.json()["images"][0])))
    assert "mask" not in answer.json()["parameters"]
    notes = json.loads(answer.json()["info"])["klein_notes"]
    assert "WARNING: 'tiling' has no effect here" in notes


def test_replicate_mask(client: httpx.Client) -> None:
    """Replicate's form of the request redraws what is white in the mask, and shows it again."""
    body = {
        "input": {
            "prompt": "a blue star",
            "images": [data_uri(PICTURE)],
            "mask": data_uri(mask()),
            "prompt_strength": 0.9,
            "aspect_ratio": "match_input_image",
            "num_inference_steps": 2,
            "output_format": "png",
        }
    }
    path = "/replicate/v1/models/black-forest-labs/flux-2-klein-4b/predictions"
    answer = client.post(path, json=body, headers={"Prefer": "wait=60"}).json()

    assert answer["status"] == "succeeded", answer
    assert is_kept(opened(fetch(answer["output"][0])))
    assert answer["input"]["prompt_strength"] == 0.9
    assert (opened(fetch(answer["input"]["mask"]))[..., 0] == opened(mask())[..., 0]).all()


def test_fal_mask(client: httpx.Client) -> None:
    """fal's names of the fields are the same."""
    body = WHOLE | {
        "image_urls": [data_uri(PICTURE)],
        "mask_url": data_uri(mask()),
        "strength": 0.9,
        "acceleration": "high",
    }
    answer = client.post("/fal/run/fal-ai/flux-2/klein/4b/edit", json=body).json()

    assert is_kept(pixels(answer["images"][0]["url"]))
    assert "WARNING: 'acceleration' has no effect here" in answer["klein_notes"]
