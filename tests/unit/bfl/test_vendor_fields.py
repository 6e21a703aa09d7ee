"""Every field of Black Forest Labs' requests is honoured, is named in the notes, or is refused by name.

Sources, as of November 2026: the schemas of https://api.bfl.ai/openapi.json, as docs.bfl.ai and tryAGI/BlackForestLabs show them,
and `@ai-sdk/black-forest-labs` 2.0.41.
"""

from pathlib import Path
from typing import Any

import pytest

from app.dialects.bfl import wire
from app.predictions.catalog import MODELS
from app.predictions.errors import InvalidInput

PAGE = (Path(__file__).parents[3] / "docs" / "dialects.md").read_text()
SECTION = PAGE.partition("## Black Forest Labs")[2].partition("\n## ")[0]
COMMON = {"prompt", "seed", "safety_tolerance", "output_format", "webhook_url", "webhook_secret"}
IMAGES = ["input_image", *(f"input_image_{k}" for k in range(2, 11))]
SCHEMAS = {
    "Flux2KleinInputs": {*COMMON, *IMAGES[:4], "width", "height"},
    "Flux2Inputs": {*COMMON, *IMAGES[:8], "width", "height", "disable_pup"},
    "Flux2FlexInputs": {*COMMON, *IMAGES[:8], "width", "height", "steps", "guidance", "prompt_upsampling", "input_image_blob_path"},
    "FluxPro11Inputs": {*COMMON, "image_prompt", "width", "height", "prompt_upsampling"},
    "FluxDevInputs": {*COMMON, "image_prompt", "width", "height", "prompt_upsampling", "steps", "guidance"},
    "FluxUltraInput": {*COMMON, "image_prompt", "image_prompt_strength", "aspect_ratio", "prompt_upsampling", "raw"},
    "FluxKontextProInputs": {*COMMON, *IMAGES[:4], "aspect_ratio", "prompt_upsampling"},
    "@ai-sdk": {*COMMON, *IMAGES, "width", "height", "aspect_ratio", "steps", "guidance", "image_prompt",
                "image_prompt_strength", "mask", "prompt_upsampling", "raw"},
}  # fmt: skip
URL = "https://host/a.png"
HD = {"width": 1024, "height": 1024}
HONOURED: list[tuple[str, Any, dict[str, Any]]] = [  # field, value, what it makes of the input
    ("prompt", "a red circle", {"prompt": "a red circle"}),
    ("seed", 42, {"seed": 42}),
    ("seed", None, {}),
    ("width", 64, {"image_size": {"width": 64, "height": 512}}),
    ("width", 1919, {"image_size": {"width": 1920, "height": 1024}}),
    ("width", 0, {"image_size": HD}),  # their default
    ("width", None, {"image_size": HD}),
    ("height", 512, {"image_size": {"width": 1024, "height": 512}}),
    ("height", 0, {"image_size": HD}),
    ("aspect_ratio", "1:1", {"image_size": HD}),
    ("aspect_ratio", "21:9", {"image_size": {"width": 1568, "height": 672}}),
    ("aspect_ratio", None, {"image_size": HD}),
    ("output_format", "jpeg", {"output_format": "jpeg"}),
    ("output_format", "png", {"output_format": "png"}),
    ("output_format", "webp", {"output_format": "webp"}),
    ("output_format", None, {"output_format": "jpeg"}),
    ("steps", 1, {"num_inference_steps": 1}),
    ("steps", 50, {"num_inference_steps": 50}),
    ("guidance", 1.5, {"guidance_scale": 1.5}),
    ("guidance", 10, {"guidance_scale": 10}),
    *((name, URL, {"image_urls": [URL]}) for name in (*IMAGES, "image_prompt")),
    ("input_image", "AAAA", {"image_urls": ["data:application/octet-stream;base64,AAAA"]}),
    ("input_image", None, {}),
    ("mask", URL, {"mask_url": URL}),
    ("prompt_upsampling", False, {}),
    ("disable_pup", False, {}),
    ("raw", False, {}),
]
NOTED: list[tuple[str, Any]] = [
    ("safety_tolerance", 0),
    ("safety_tolerance", 6),
    ("prompt_upsampling", True),
    ("disable_pup", True),
    ("raw", True),
    ("image_prompt_strength", 0.1),
    ("guidance", 5),  # on a distilled model
    ("images", [URL]),  # of other vendors
]
REFUSED: list[tuple[str, Any]] = [
    ("prompt", None),  # which some of their models take, with an image
    ("input_image_blob_path", "a/b.png"),
    ("output_format", "gif"),
    ("aspect_ratio", "wide"),
    ("webhook_url", "ftp://host"),
]
WEBHOOK = {"webhook_url", "webhook_secret"}  # not part of the input


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_field_is_in_the_table_and_on_the_page(schema):
    """Each field of a schema has a row, and the page names it."""
    rows = {row[0] for row in (*HONOURED, *NOTED, *REFUSED)} | WEBHOOK
    numbered = set(IMAGES[2:])  # the page writes: input_image, input_image_2 …

    assert SCHEMAS[schema] <= rows
    assert [name for name in SCHEMAS[schema] - numbered if f"`{name}`" not in SECTION] == []


@pytest.mark.parametrize(("field", "value", "expected"), HONOURED)
def test_field_is_honoured(field, value, expected):
    """The field has its effect on an input that the model accepts, and no note."""
    sent = {"prompt": "x", field: value} | ({"input_image": URL} if field == "mask" else {})
    slug, values = wire.read_input("flux-2-klein-4b-base", wire.parse_create(sent))

    assert {name: values.get(name) for name in expected} == expected
    assert wire.read_notes(sent, is_guided=True) == ()
    assert MODELS[slug].parse(values)


@pytest.mark.parametrize(("field", "value"), NOTED)
def test_field_is_noted(field, value):
    """The notes name a field that has no effect."""
    sent = {"prompt": "x", field: value}

    assert wire.parse_create(sent)
    assert wire.read_notes(sent, is_guided=False) == (f"WARNING: {field!r} has no effect here",)


@pytest.mark.parametrize(("field", "value"), REFUSED)
def test_field_is_refused(field, value):
    """A problem names the field."""
    with pytest.raises(InvalidInput, match=f"^{field}: "):
        wire.parse_create({"prompt": "x", field: value})


def test_webhook_is_honoured():
    """The webhook has its URL and its secret."""
    sent = {"prompt": "x", "webhook_url": "https://host/told", "webhook_secret": "s"}
    webhook = wire.read_webhook(wire.parse_create(sent), "https://klein.test")

    assert webhook is not None
    assert (webhook.url, webhook.secret) == ("https://host/told", "s")
    assert wire.read_notes(sent, is_guided=False) == ()


def test_mask_without_an_image_is_named():
    """A problem with the mask has the name that was sent."""
    body = wire.parse_create({"prompt": "x", "mask": URL})
    slug, values = wire.read_input("flux-2-klein-4b", body)
    with pytest.raises(InvalidInput) as caught:
        MODELS[slug].parse(values)

    assert wire.rename_fields(caught.value, body).problems[0].field == "mask"
