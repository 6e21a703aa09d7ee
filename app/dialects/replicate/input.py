"""Maps inputs to and from the form of Replicate; pure.

Fields, choices and defaults are those of black-forest-labs/flux-2-klein-4b at Replicate.
"""

import math
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.dialects.model_names import NAMES, model_slug
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.errors import FieldProblem, InvalidInput
from app.predictions.inputs import (
    NAMED_SIZES,
    PIXELS_MAX,
    PROMPT_MAX_LENGTH,
    REFERENCES_MAX,
    SIDE_MULTIPLE,
)
from app.predictions.problems import problems_of

_MEGAPIXEL = 1024 * 1024
_MATCH = "match_input_image"
Ratio = Literal[
    "1:1", "16:9", "9:16", "3:2", "2:3", "4:3", "3:4", "5:4", "4:5", "21:9", "9:21",
    "match_input_image",
]  # fmt: skip
Megapixels = Literal["0.25", "0.5", "1", "2", "4"]


class Input(BaseModel):
    """The input in Replicate's form; unknown fields are ignored, as at Replicate."""

    model_config = ConfigDict(extra="ignore", strict=True)

    prompt: str = Field(
        min_length=1, max_length=PROMPT_MAX_LENGTH, description="Describes the image."
    )
    images: list[str] = Field(
        [],
        max_length=REFERENCES_MAX,
        description="Images to edit, as URLs or data URIs; png, jpeg or webp.",
    )
    aspect_ratio: Ratio = Field(
        "1:1",
        description=f"Width to height; {_MATCH} takes the size of the first image.",
    )
    output_megapixels: Megapixels = Field("1", description="Size of the image.")
    seed: int | None = Field(None, description="The same seed and input give the same image.")
    go_fast: bool = Field(False, description="Accepted for compatibility.")
    output_format: Literal["webp", "jpg", "png"] = Field("jpg", description="The file format.")
    output_quality: int = Field(95, ge=0, le=100, description="Of jpg and webp.")
    disable_safety_checker: bool = Field(False, description="Accepted for compatibility.")


class BaseInput(Input):
    """The input of the base model, which also has guidance."""

    guidance: float = Field(4.0, ge=1, le=10, description="How closely to follow the prompt.")


def type_of(name: str) -> type[Input]:
    """Return the input class of a model."""
    return BaseInput if name == NAMES[CheckpointKind.BASE] else Input


def read_input(name: str, raw: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Map an input to a slug and the input of its model. Raises InvalidInput with Replicate's field names."""
    present = {field: value for field, value in raw.items() if value is not None}
    try:
        parsed = type_of(name).model_validate(present)
    except ValidationError as exc:
        raise InvalidInput(*problems_of(exc)) from None
    read: dict[str, Any] = {
        "prompt": parsed.prompt,
        "acceleration": "high" if parsed.go_fast else "regular",
        "output_format": parsed.output_format.replace("jpg", "jpeg"),
        "output_quality": max(parsed.output_quality, 1),
        "enable_safety_checker": not parsed.disable_safety_checker,
    }
    if parsed.seed is not None:
        read["seed"] = parsed.seed
    if isinstance(parsed, BaseInput):
        read["guidance_scale"] = parsed.guidance
    if parsed.images:
        read["image_urls"] = parsed.images
    if parsed.aspect_ratio != _MATCH or not parsed.images:
        width, height = size_of(parsed.aspect_ratio, parsed.output_megapixels)
        read["image_size"] = {"width": width, "height": height}
    return model_slug(name, is_edit=bool(parsed.images)), read


def rename_fields(exc: InvalidInput) -> InvalidInput:
    """Rename the fields of problems to Replicate's names."""
    return InvalidInput(
        *(
            FieldProblem(field=p.field.replace("image_urls", "images"), message=p.message)
            for p in exc.problems
        )
    )


def size_of(ratio: str, megapixels: str) -> tuple[int, int]:
    """Return width and height in pixels for an aspect ratio and megapixels."""
    across, down = (1, 1) if ratio == _MATCH else map(int, ratio.split(":"))
    unit = math.sqrt(min(float(megapixels) * _MEGAPIXEL, PIXELS_MAX) / (across * down))
    width, height = (int(side * unit) // SIDE_MULTIPLE * SIDE_MULTIPLE for side in (across, down))
    return width, height


_RATIOS = {
    size_of(ratio, megapixels): (ratio, megapixels)
    for megapixels in get_args(Megapixels)
    for ratio in get_args(Ratio)
    if ratio != _MATCH
}


def show_input(stored: dict[str, Any], default_size: str | None) -> dict[str, Any]:
    """Render a stored input with Replicate's names, whichever dialect it came from.

    `default_size` is the named size that the model takes where the input has none.
    """
    shown: dict[str, Any] = {"prompt": stored["prompt"]}
    if stored.get("image_urls"):
        shown["images"] = stored["image_urls"]
    size = stored.get("image_size") or default_size
    pair = NAMED_SIZES[size] if isinstance(size, str) else size and (size["width"], size["height"])
    if pair is None:
        shown["aspect_ratio"] = _MATCH
    elif pair in _RATIOS:
        shown["aspect_ratio"], shown["output_megapixels"] = _RATIOS[pair]
    else:
        shown |= {"aspect_ratio": "custom", "width": pair[0], "height": pair[1]}
    shown["seed"] = stored.get("seed")
    shown["go_fast"] = stored.get("acceleration") == "high"
    shown["output_format"] = str(stored.get("output_format") or "png").replace("jpeg", "jpg")
    if stored.get("output_quality") is not None:
        shown["output_quality"] = stored["output_quality"]
    if "guidance_scale" in stored:
        shown["guidance"] = stored["guidance_scale"]
    shown["disable_safety_checker"] = stored.get("enable_safety_checker") is False
    return shown
