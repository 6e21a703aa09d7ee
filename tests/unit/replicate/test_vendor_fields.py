"""Every field of Replicate's requests is honoured, is named in the logs, is documented as one without an effect, or is refused by name.

Sources, as of November 2026: Replicate's pages of black-forest-labs/flux-2-klein-4b and of its base models with and without LoRAs,
such as https://replicate.com/black-forest-labs/flux-2-klein-9b-base/api, and `@ai-sdk/replicate` 3.0.46. Its own clients, `replicate`
of npm and PyPI, send an input as it is.
"""

from pathlib import Path
from typing import Any

import pytest

from app.dialects.replicate.input import read_input, type_of
from app.dialects.replicate.wire import CreateBody
from app.predictions.catalog import MODELS
from app.predictions.errors import InvalidInput

PAGE = (Path(__file__).parents[3] / "docs" / "dialects.md").read_text()
SECTION = PAGE.partition("## Replicate")[2].partition("\n## ")[0]
DISTILLED, BASE, LORA = "flux-2-klein-4b", "flux-2-klein-4b-base", "flux-2-klein-4b-base-lora"
KLEIN = {"prompt", "images", "aspect_ratio", "output_megapixels", "go_fast", "seed", "output_format", "output_quality",
         "disable_safety_checker"}  # fmt: skip
NUMBERED = {f"input_image_{k}" for k in range(2, 9)}
SCHEMAS = {
    DISTILLED: KLEIN,
    BASE: KLEIN | {"guidance"},
    LORA: KLEIN | {"guidance", "lora_weights", "lora_scales"},
    "@ai-sdk": {"prompt", "aspect_ratio", "size", "seed", "num_outputs", "input_image", *NUMBERED, "image", "mask",
                "guidance_scale", "num_inference_steps", "negative_prompt", "output_format", "output_quality", "strength"},
}  # fmt: skip
URL = "https://host/a.png"
IMAGE = {"images": [URL]}


def pixels(width: int, height: int) -> dict[str, Any]:
    """Return the size of an input."""
    return {"image_size": {"width": width, "height": height}}


HONOURED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [  # model, input, what becomes of it
    (DISTILLED, {"prompt": "a red circle"}, {"prompt": "a red circle"}),
    (DISTILLED, {"images": [URL] * 4}, {"image_urls": [URL] * 4}),
    (DISTILLED, {"images": []}, {}),
    (DISTILLED, {"images": None}, {}),
    (DISTILLED, {"aspect_ratio": "1:1"}, pixels(1024, 1024)),
    (DISTILLED, {"aspect_ratio": "16:9"}, pixels(1360, 768)),
    (DISTILLED, {"aspect_ratio": "9:16"}, pixels(768, 1360)),
    (DISTILLED, {"aspect_ratio": "3:2"}, pixels(1248, 832)),
    (DISTILLED, {"aspect_ratio": "2:3"}, pixels(832, 1248)),
    (DISTILLED, {"aspect_ratio": "4:3"}, pixels(1168, 880)),
    (DISTILLED, {"aspect_ratio": "3:4"}, pixels(880, 1168)),
    (DISTILLED, {"aspect_ratio": "5:4"}, pixels(1136, 912)),
    (DISTILLED, {"aspect_ratio": "4:5"}, pixels(912, 1136)),
    (DISTILLED, {"aspect_ratio": "21:9"}, pixels(1552, 656)),
    (DISTILLED, {"aspect_ratio": "9:21"}, pixels(656, 1552)),
    (DISTILLED, IMAGE | {"aspect_ratio": "match_input_image"}, {"image_size": None}),
    (DISTILLED, {"aspect_ratio": None}, pixels(1024, 1024)),
    (DISTILLED, {"output_megapixels": "0.25"}, pixels(512, 512)),
    (DISTILLED, {"output_megapixels": "0.5"}, pixels(720, 720)),
    (DISTILLED, {"output_megapixels": "1"}, pixels(1024, 1024)),
    (DISTILLED, {"output_megapixels": "2"}, pixels(1440, 1440)),
    (DISTILLED, {"output_megapixels": "4"}, pixels(2048, 2048)),
    (DISTILLED, {"size": "512x256"}, pixels(512, 256)),
    (DISTILLED, {"seed": 7}, {"seed": 7}),
    (DISTILLED, {"seed": None}, {"seed": None}),
    (DISTILLED, {"output_format": "jpg"}, {"output_format": "jpeg"}),
    (DISTILLED, {"output_format": "png"}, {"output_format": "png"}),
    (DISTILLED, {"output_format": "webp"}, {"output_format": "webp"}),
    (DISTILLED, {"output_quality": 0}, {"output_quality": 1}),
    (DISTILLED, {"output_quality": 100}, {"output_quality": 100}),
    (DISTILLED, {"num_outputs": 4}, {"num_images": 4}),
    (DISTILLED, {"num_inference_steps": 4}, {"num_inference_steps": 4}),
    *((DISTILLED, {name: URL}, {"image_urls": [URL]}) for name in ("image", "input_image", *NUMBERED)),
    (DISTILLED, IMAGE | {"mask": URL}, {"mask_url": URL}),
    (DISTILLED, IMAGE | {"strength": 0.5}, {"strength": 0.5}),
    (DISTILLED, IMAGE | {"strength": 0}, {"strength": 0.01}),
    (DISTILLED, IMAGE | {"prompt_strength": 0.8, "strength": 0.5}, {"strength": 0.8}),
    (BASE, {"guidance": 1}, {"guidance_scale": 1}),
    (BASE, {"guidance": 10}, {"guidance_scale": 10}),
    (BASE, {"guidance_scale": 7.5}, {"guidance_scale": 7.5}),
    (BASE, {"negative_prompt": "blue"}, {"negative_prompt": "blue"}),
    (LORA, {"lora_weights": ["a.safetensors"]}, {"loras": [{"path": "a.safetensors", "scale": 1}]}),
    (LORA, {"lora_weights": "a.safetensors", "lora_scales": 0.5}, {"loras": [{"path": "a.safetensors", "scale": 0.5}]}),
]  # fmt: skip
LOGGED: list[tuple[str, dict[str, Any], str]] = [  # model, input, the field that the logs name
    (DISTILLED, {"guidance": 4}, "guidance"),
    (DISTILLED, {"guidance_scale": 4}, "guidance_scale"),
    (DISTILLED, {"negative_prompt": "blue"}, "negative_prompt"),
    (BASE, {"lora_weights": ["a.safetensors"]}, "lora_weights"),
    (DISTILLED, {"strength": 0.5}, "strength"),  # without an image
    (DISTILLED, {"width": 512}, "width"),  # without a height
    (DISTILLED, {"size": "large"}, "size"),
    (
        DISTILLED,
        IMAGE | {"aspect_ratio": "match_input_image", "output_megapixels": "2"},
        "output_megapixels",
    ),
]
REQUEST = {
    "version",
    "input",
    "webhook",
    "webhook_events_filter",
    "stream",
}  # what the clients send beside the input
WITHOUT_EFFECT = {"go_fast", "disable_safety_checker"}  # on the page
REFUSED: list[tuple[str, dict[str, Any], str]] = [  # model, input, the field that is named
    (DISTILLED, {"images": [URL] * 5}, "images"),
    (DISTILLED, {"aspect_ratio": "1:3"}, "aspect_ratio"),
    (DISTILLED, {"output_format": "gif"}, "output_format"),
    (DISTILLED, {"num_outputs": 5}, "num_outputs"),
    (DISTILLED, {"num_inference_steps": 51}, "num_inference_steps"),
    (LORA, {"lora_weights": [f"{k}.safetensors" for k in range(4)]}, "lora_weights"),
]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_field_is_in_the_table_and_on_the_page(schema):
    """Each field of a schema has a row, and the page names it."""
    rows = {field for _, sent, _ in (*HONOURED, *LOGGED, *REFUSED) for field in sent}

    assert SCHEMAS[schema] <= rows | WITHOUT_EFFECT
    assert [f for f in SCHEMAS[schema] - NUMBERED if f"`{f}`" not in SECTION] == []
    assert "| `go_fast`, `disable_safety_checker` | No effect. |" in SECTION


def test_every_field_of_the_request_is_read_or_on_the_page():
    """What surrounds the input is read, except what the page names."""
    assert [
        name for name in REQUEST - set(CreateBody.model_fields) if f"(`{name}`)" not in SECTION
    ] == []


@pytest.mark.parametrize(("model", "sent", "expected"), HONOURED)
def test_field_is_honoured(model, sent, expected):
    """The field has its effect on an input that the model accepts, and the logs do not name it."""
    request = read_input(model, {"prompt": "x"} | sent)

    assert {name: request.input.get(name) for name in expected} == expected
    assert request.notes == ()
    assert MODELS[request.slug].parse(request.input)


@pytest.mark.parametrize(("model", "sent", "field"), LOGGED)
def test_field_is_named_in_the_logs(model, sent, field):
    """The logs name a field that has no effect."""
    request = read_input(model, {"prompt": "x"} | sent)

    assert request.notes == (f"WARNING: {field!r} has no effect here",)


@pytest.mark.parametrize("field", sorted(WITHOUT_EFFECT))
def test_field_without_an_effect_is_taken(field):
    """The model takes a field that has no effect, as the page says."""
    assert field in type_of(DISTILLED).model_fields
    assert read_input(DISTILLED, {"prompt": "x", field: True}).notes == ()


@pytest.mark.parametrize(("model", "sent", "field"), REFUSED)
def test_field_is_refused(model, sent, field):
    """A problem names the field."""
    with pytest.raises(InvalidInput, match=f"^{field}: "):
        read_input(model, {"prompt": "x"} | sent)
