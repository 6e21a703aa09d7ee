"""Every field of fal's requests is honoured, is named in the notes, or is refused by name.

Sources, as of November 2026: the types of the endpoints fal-ai/flux-2/klein/4b… in `@fal-ai/client` 1.10.1, and the limits on
their pages, such as https://fal.ai/models/fal-ai/flux-2/klein/4b/lora/llms.txt.
"""

from pathlib import Path
from typing import Any

import pytest

from app.dialects.fal import wire
from app.predictions.catalog import MODELS
from app.predictions.errors import InvalidInput

PAGE = (Path(__file__).parents[3] / "docs" / "dialects.md").read_text()
SECTION = PAGE.partition("## fal")[2].partition("\n## ")[0]
COMMON = {"prompt", "seed", "image_size", "num_images", "num_inference_steps", "output_format",
          "enable_safety_checker", "sync_mode"}  # fmt: skip
BASE = COMMON | {"negative_prompt", "guidance_scale", "acceleration"}
ENDPOINTS = {
    "fal-ai/flux-2/klein/4b": COMMON,
    "fal-ai/flux-2/klein/4b/edit": COMMON | {"image_urls"},
    "fal-ai/flux-2/klein/4b/lora": COMMON | {"loras"},
    "fal-ai/flux-2/klein/4b/edit/lora": COMMON | {"image_urls", "loras"},
    "fal-ai/flux-2/klein/4b/base": BASE,
    "fal-ai/flux-2/klein/4b/base/edit": BASE | {"image_urls"},
    "fal-ai/flux-2/klein/4b/base/lora": BASE | {"loras"},
    "fal-ai/flux-2/klein/4b/base/edit/lora": BASE | {"image_urls", "loras"},
}
URL = "https://host/a.png"
LORA = "https://host/a.safetensors"
HONOURED: list[tuple[str, Any, str, Any]] = [  # field, value, attribute of the checked input, value
    ("prompt", "a red circle", "prompt", "a red circle"),
    ("seed", 7, "seed", 7),
    ("seed", None, "seed", None),
    ("image_size", "square_hd", "size", (1024, 1024)),
    ("image_size", "square", "size", (512, 512)),
    ("image_size", "portrait_4_3", "size", (768, 1024)),
    ("image_size", "portrait_16_9", "size", (576, 1024)),
    ("image_size", "landscape_4_3", "size", (1024, 768)),
    ("image_size", "landscape_16_9", "size", (1024, 576)),
    ("image_size", {"width": 1280, "height": 720}, "size", (1280, 720)),
    ("image_size", {"width": 1001, "height": 600.0}, "size", (1008, 608)),  # multiples of 16
    ("image_size", {"width": 14142, "height": 14142}, "size", (2048, 2048)),
    ("image_size", {"width": 1024}, "size", (1024, 512)),  # 512 is the default of a side
    ("image_size", {}, "size", (512, 512)),
    ("image_size", None, "size", None),
    ("num_images", 4, "num_images", 4),
    ("num_inference_steps", 4, "num_inference_steps", 4),
    ("num_inference_steps", 50, "num_inference_steps", 50),
    ("output_format", "jpeg", "output_format", "jpeg"),
    ("output_format", "png", "output_format", "png"),
    ("output_format", "webp", "output_format", "webp"),
    ("sync_mode", True, "sync_mode", True),
    ("negative_prompt", "blue", "negative", "blue"),
    ("guidance_scale", 0, "guidance", 0),
    ("guidance_scale", 20, "guidance", 20),
    ("image_urls", [URL] * 4, "reference_urls", (URL,) * 4),
]
NOTED: list[tuple[str, Any]] = [
    ("acceleration", "none"),
    ("acceleration", "regular"),
    ("acceleration", "high"),
    ("enable_safety_checker", True),
    ("enable_safety_checker", False),
]
REFUSED: list[tuple[str, Any]] = [
    ("image_urls", [URL] * 5),
    ("image_size", {"width": 0, "height": 512}),
    ("num_images", 5),
    ("loras", [{"path": f"{k}.safetensors"} for k in range(4)]),
]


def check(app_id: str, sent: dict[str, Any]) -> Any:
    """Check an input as a create does."""
    return MODELS[wire.find_slug(app_id)].parse(wire.read_input({"prompt": "x"} | sent))


@pytest.mark.parametrize("app_id", ENDPOINTS)
def test_every_field_is_in_the_table_and_on_the_page(app_id):
    """Each field of an endpoint has a row, the page names it, and it is noted only if its row says so."""
    rows = {row[0] for row in (*HONOURED, *NOTED, *REFUSED)}
    notes = wire.read_notes(dict.fromkeys(ENDPOINTS[app_id], 1), MODELS[wire.find_slug(app_id)])

    assert ENDPOINTS[app_id] <= rows
    assert [name for name in ENDPOINTS[app_id] if f"`{name}`" not in SECTION] == []
    noted = ENDPOINTS[app_id] & {field for field, _ in NOTED}
    assert sorted(notes) == [f"WARNING: {name!r} has no effect here" for name in sorted(noted)]


@pytest.mark.parametrize(("field", "value", "attribute", "expected"), HONOURED)
def test_field_is_honoured(field, value, attribute, expected):
    """The field has its effect on the checked input."""
    checked = check("fal-ai/flux-2/klein/4b/base/edit", {"image_urls": [URL], field: value})

    assert getattr(checked, attribute) == expected


def test_loras_are_honoured():
    """Three LoRAs are taken, each with its scale or a scale of 1."""
    sent = {
        "loras": [
            {"path": LORA, "scale": 0.5},
            {"path": "b.safetensors"},
            {"path": "c.safetensors", "scale": None},
        ]
    }
    checked = check("fal-ai/flux-2/klein/4b/lora", sent)

    assert [(lora.path, lora.scale) for lora in checked.loras] == [
        (LORA, 0.5),
        ("b.safetensors", 1),
        ("c.safetensors", 1),
    ]


@pytest.mark.parametrize(("field", "value"), NOTED)
def test_noted_field_is_taken(field, value):
    """A value of a field without an effect is no problem."""
    assert check("fal-ai/flux-2/klein/4b", {field: value})


@pytest.mark.parametrize(("field", "value"), REFUSED)
def test_field_is_refused(field, value):
    """A problem names the field."""
    with pytest.raises(InvalidInput, match=f"^{field}: "):
        check("fal-ai/flux-2/klein/4b/edit", {"image_urls": [URL], field: value})


@pytest.mark.parametrize("field", ["guidance_scale", "negative_prompt", "image_urls", "strength"])
def test_field_of_another_model_is_noted(field):
    """A field that this model does not have is named in the notes."""
    model = MODELS["flux-2-klein-4b-text-to-image"]

    assert wire.read_notes({"prompt": "x", field: 1}, model) == (
        f"WARNING: {field!r} has no effect here",
    )
