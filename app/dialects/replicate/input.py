"""Maps inputs to and from the form of Replicate. Does no I/O.

Fields, choices and defaults are those of black-forest-labs/flux-2-klein-4b at Replicate, and the further ones that its clients send.
"""

import math
from dataclasses import replace
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from app.dialects.ignored_fields import ignored_notes
from app.dialects.model_names import model_slug
from app.dialects.replicate.images import collect_images, is_image_field
from app.dialects.replicate.models import base_name, kind_of, takes_loras
from app.dialects.replicate.request import InputRequest
from app.predictions.errors import FieldProblem, InvalidInput
from app.predictions.inputs import PROMPT_MAX_LENGTH, REFERENCES_MAX, STRENGTH_MIN
from app.predictions.json_values import normalised
from app.predictions.lora import LORAS_MAX
from app.predictions.problems import problems_of
from app.predictions.sizes import (
    NAMED_SIZES,
    PIXELS_MAX,
    SIDE_MULTIPLE,
    nearest_size,
    parse_size,
)

_MEGAPIXEL = 1024 * 1024
_MATCH = "match_input_image"
Ratio = Literal[
    "1:1", "16:9", "9:16", "3:2", "2:3", "4:3", "3:4", "5:4", "4:5", "21:9", "9:21",
    "match_input_image", "custom",
]  # fmt: skip
Megapixels = Literal["0.25", "0.5", "1", "2", "4"]


def _as_list(value: Any) -> Any:
    """Take one value for a list of one."""
    return value if isinstance(value, list) else [value]


class Input(BaseModel):
    """The input in Replicate's form. The logs name the fields that have no effect."""

    model_config = ConfigDict(extra="ignore", strict=True)
    _normalise = model_validator(mode="before")(normalised)

    prompt: str = Field(
        min_length=1, max_length=PROMPT_MAX_LENGTH, description="Describes the image."
    )
    images: list[str] = Field(
        [],
        max_length=REFERENCES_MAX,
        description="Images to edit, as URLs or data URIs; png, jpeg or webp.",
    )
    mask: str | None = Field(
        None, description="The part of the first image to redraw, in white; a URL or data URI."
    )
    prompt_strength: float | None = Field(
        None, ge=0, le=1, description="How much the first image may change. Default: 1."
    )
    strength: float | None = Field(
        None, ge=0, le=1, description="The same, by its name in some clients."
    )
    aspect_ratio: Ratio = Field(
        "1:1",
        description=f"Aspect ratio, width to height; {_MATCH} takes the size of the first image, custom takes width and height.",
    )
    output_megapixels: Megapixels = Field("1", description="Size of the image.")
    width: int | None = Field(None, ge=1, le=8192, description="Width in pixels, with height.")
    height: int | None = Field(None, ge=1, le=8192, description="Height in pixels, with width.")
    size: str | None = Field(None, description="Width and height, such as 1024x768.")
    num_outputs: int = Field(1, ge=1, le=4, description="Number of images.")
    num_inference_steps: int | None = Field(None, ge=1, le=50, description="Denoising steps.")
    seed: int | None = Field(
        None, description="The same seed and input give the same image. -1 or none: random."
    )
    go_fast: bool = Field(False, description="Accepted for compatibility.")
    output_format: Literal["webp", "jpg", "png"] = Field("jpg", description="The file format.")
    output_quality: int = Field(95, ge=0, le=100, description="Quality of jpg and webp files.")
    disable_safety_checker: bool = Field(False, description="Accepted for compatibility.")

    @property
    def change(self) -> float | None:
        """How much the first image may change, or None if nothing limits it. For 0, one step is done."""
        sent = self.strength if self.prompt_strength is None else self.prompt_strength
        return None if sent is None else max(sent, STRENGTH_MIN)

    @property
    def pixels(self) -> tuple[int, int] | None:
        """Width and height in pixels, rounded to a size that the model takes, or None for the size of the first image."""
        if self.width is not None and self.height is not None:
            return nearest_size(self.width, self.height)
        if self.size is not None and (size := parse_size(self.size)) is not None:
            return nearest_size(*size)
        if self.aspect_ratio == _MATCH and self.images:
            return None
        return size_of(self.aspect_ratio, self.output_megapixels)


class BaseInput(Input):
    """The input of the base model, which also has guidance and a negative prompt."""

    guidance: float = Field(4.0, ge=1, le=10, description="How closely to follow the prompt.")
    guidance_scale: float | None = Field(
        None, ge=0, le=20, description="The same, by its name elsewhere."
    )
    negative_prompt: str = Field("", max_length=PROMPT_MAX_LENGTH, description="What to avoid.")


class LoraInput(BaseInput):
    """The input of the base model with LoRAs."""

    lora_weights: Annotated[list[str], BeforeValidator(_as_list)] = Field(
        [],
        max_length=LORAS_MAX,
        description="LoRAs: file names, or URLs where the server allows them.",
    )
    lora_scales: Annotated[list[float], BeforeValidator(_as_list)] = Field(
        [], max_length=LORAS_MAX, description="Strength of each LoRA. Default: 1."
    )


def type_of(name: str) -> type[Input]:
    """Return the input class of a model."""
    if takes_loras(name):
        return LoraInput
    return BaseInput if kind_of(name).is_guided else Input


def read_input(name: str, raw: dict[str, Any]) -> InputRequest:
    """Map an input to a slug and the input of its model. Raises InvalidInput with Replicate's field names."""
    present = {field: value for field, value in raw.items() if value is not None}
    images, image_fields = collect_images(present)
    input_type = type_of(name)
    try:
        parsed = input_type.model_validate(present | ({"images": images} if images else {}))
    except ValidationError as exc:
        problems = problems_of(exc)
        raise InvalidInput(*(_as_sent(p, images, image_fields) for p in problems)) from None
    if parsed.aspect_ratio == "custom" and None in {parsed.width, parsed.height}:
        message = "send width and height too, or a ratio such as 16:9"
        raise InvalidInput(FieldProblem(field="aspect_ratio", message=message))
    return InputRequest(
        slug=model_slug(base_name(name), is_edit=bool(parsed.images)),
        input=_fields(parsed),
        notes=_notes(present, input_type, parsed),
        image_fields=tuple(image_fields),
    )


def _as_sent(problem: FieldProblem, images: list[Any], image_fields: list[str]) -> FieldProblem:
    """Name the field of the first wrong image, which may be another one than `images`."""
    if problem.field.partition("[")[0] != "images" or not image_fields:
        return problem
    wrong = [k for k, image in enumerate(images) if not isinstance(image, str)]
    first = min(*wrong[:1], REFERENCES_MAX, len(images) - 1)
    return replace(problem, field=image_fields[first].partition("[")[0])


def _fields(parsed: Input) -> dict[str, Any]:
    """Return the input of the catalog's model."""
    fields: dict[str, Any] = {
        "prompt": parsed.prompt,
        "acceleration": "high" if parsed.go_fast else "regular",
        "output_format": parsed.output_format.replace("jpg", "jpeg"),
        "output_quality": max(parsed.output_quality, 1),
        "enable_safety_checker": not parsed.disable_safety_checker,
    }
    if parsed.num_outputs > 1:
        fields["num_images"] = parsed.num_outputs
    if parsed.num_inference_steps is not None:
        fields["num_inference_steps"] = parsed.num_inference_steps
    if parsed.seed is not None:
        fields["seed"] = parsed.seed
    if isinstance(parsed, BaseInput):
        fields["guidance_scale"] = (
            parsed.guidance if parsed.guidance_scale is None else parsed.guidance_scale
        )
        if parsed.negative_prompt:
            fields["negative_prompt"] = parsed.negative_prompt
    if isinstance(parsed, LoraInput) and parsed.lora_weights:
        fields["loras"] = _loras(parsed)
    fields |= _image_fields(parsed)
    if (pixels := parsed.pixels) is not None:
        fields["image_size"] = {"width": pixels[0], "height": pixels[1]}
    return fields


def _image_fields(parsed: Input) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if parsed.images:
        fields["image_urls"] = parsed.images
    if parsed.mask:
        fields["mask_url"] = parsed.mask
    if parsed.images and parsed.change is not None:
        fields["strength"] = parsed.change
    return fields


def _loras(parsed: LoraInput) -> list[dict[str, Any]]:
    """Pair the LoRAs with their scales. Raises InvalidInput."""
    scales = parsed.lora_scales or [1.0] * len(parsed.lora_weights)
    if len(scales) != len(parsed.lora_weights):
        message = f"send one scale for each of the {len(parsed.lora_weights)} lora_weights, or none"
        raise InvalidInput(FieldProblem(field="lora_scales", message=message))
    return [
        {"path": path, "scale": scale}
        for path, scale in zip(parsed.lora_weights, scales, strict=True)
    ]


def _notes(present: dict[str, Any], input_type: type[Input], parsed: Input) -> tuple[str, ...]:
    """Return a warning for each field that has no effect."""
    ignored = [
        field
        for field in present
        if field not in input_type.model_fields and not is_image_field(field)
    ]
    if parsed.size is not None and parse_size(parsed.size) is None:
        ignored.append("size")
    if None in {parsed.width, parsed.height}:
        ignored += [field for field in ("width", "height") if field in present]
    if parsed.pixels is None and "output_megapixels" in present:
        ignored.append("output_megapixels")
    if not parsed.images:
        ignored += [field for field in ("prompt_strength", "strength") if field in present]
    return ignored_notes(ignored)


def size_of(ratio: str, megapixels: str) -> tuple[int, int]:
    """Return width and height in pixels for an aspect ratio and megapixels."""
    across, down = (1, 1) if ":" not in ratio else map(int, ratio.split(":"))
    unit = math.sqrt(min(float(megapixels) * _MEGAPIXEL, PIXELS_MAX) / (across * down))
    width, height = (int(side * unit) // SIDE_MULTIPLE * SIDE_MULTIPLE for side in (across, down))
    return width, height


_RATIOS = {
    size_of(ratio, megapixels): (ratio, megapixels)
    for megapixels in get_args(Megapixels)
    for ratio in get_args(Ratio)
    if ":" in ratio
}


def show_input(stored: dict[str, Any], default_size: str | None) -> dict[str, Any]:
    """Render a stored input with Replicate's names, whichever dialect it came from.

    `default_size` is the named size that the model takes if the input has none.
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
    renamed = {
        "output_quality": "output_quality",
        "num_images": "num_outputs",
        "num_inference_steps": "num_inference_steps",
        "guidance_scale": "guidance",
        "negative_prompt": "negative_prompt",
        "mask_url": "mask",
        "strength": "prompt_strength",
    }
    shown |= {
        theirs: stored[ours] for ours, theirs in renamed.items() if stored.get(ours) is not None
    }
    if loras := stored.get("loras"):
        shown["lora_weights"] = [lora["path"] for lora in loras]
        shown["lora_scales"] = [lora.get("scale", 1.0) for lora in loras]
    shown["disable_safety_checker"] = stored.get("enable_safety_checker") is False
    return shown
