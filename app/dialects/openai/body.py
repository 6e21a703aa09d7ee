"""Reads the body of a request for images, and maps it to inputs of the catalog. Does no I/O."""

import re
from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from app.predictions.errors import FieldProblem, InvalidInput
from app.predictions.inputs import IMAGES_MAX, PROMPT_MAX_LENGTH
from app.predictions.json_values import whole
from app.predictions.problems import problems_of
from app.predictions.sizes import nearest_size, parse_size

AUTO = (1024, 1024)  # px, the default size
THEIR_PROMPT_MAX = 32_000  # characters
_NUMBER = re.compile(
    r"[+-]?(?=\.?[0-9])[0-9]{0,20}(\.[0-9]{0,20})?(e[+-]?[0-9]{1,2})?", re.IGNORECASE
)
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_FIELD_NAMES = {
    "image_urls": "image",
    "mask_url": "mask",
    "image_size": "size",
    "num_images": "n",
    "output_quality": "output_compression",
}


_SHORT_NAMES = {"num_inference_steps": "steps", "guidance_scale": "guidance"}


def _number(value: Any) -> Any:
    """Convert the text of a form field to a number."""
    match = _NUMBER.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return whole(value)
    return int(match[0]) if match[1] is match[2] is None else whole(float(match[0]))


def _boolean(value: Any) -> Any:
    """Convert the text of a form field to a boolean; programs write it in the words of their language."""
    return _BOOLEANS.get(value.strip().lower(), value) if isinstance(value, str) else value


def _present(values: Any) -> Any:
    """Take null and empty form fields for absent. The prompt must not be empty."""
    if not isinstance(values, dict):
        return values
    return {
        name: value
        for name, value in values.items()
        if value is not None and (value != "" or name == "prompt")
    }


FormInt = Annotated[int, BeforeValidator(_number)]
FormFloat = Annotated[float, BeforeValidator(_number)]
FormBool = Annotated[bool, BeforeValidator(_boolean)]


class ImageBody(BaseModel):
    """A request for images: the fields of OpenAI, and those of servers with the same API, such as `seed` and `steps`.

    Fields without an effect here (quality, moderation, style, user and others) are ignored.
    """

    model_config = ConfigDict(strict=True, extra="ignore")

    _present = model_validator(mode="before")(_present)

    prompt: str = Field(max_length=THEIR_PROMPT_MAX)
    model: str | None = None
    n: Annotated[FormInt, Field(ge=1, le=10)] | None = None
    size: str | None = None
    width: Annotated[FormInt, Field(ge=1, le=8192)] | None = None
    height: Annotated[FormInt, Field(ge=1, le=8192)] | None = None
    background: Literal["auto", "opaque", "transparent"] | None = None
    output_format: Literal["png", "jpeg", "jpg", "webp"] | None = None
    output_compression: Annotated[FormInt, Field(ge=0, le=100)] | None = None
    response_format: Literal["url", "b64_json", "base64"] | None = None
    stream: FormBool | None = None
    partial_images: Annotated[FormInt, Field(ge=0, le=3)] | None = None
    seed: FormInt | None = None
    num_inference_steps: FormInt | None = Field(
        None, validation_alias=AliasChoices("num_inference_steps", "steps")
    )
    guidance_scale: FormFloat | None = Field(
        None, validation_alias=AliasChoices("guidance_scale", "guidance")
    )
    negative_prompt: str | None = None
    mask: str | None = None
    strength: FormFloat | None = None

    @property
    def is_streamed(self) -> bool:
        """Return whether the answer is a stream of events."""
        return self.stream is True


def parse_body(body: dict[str, Any]) -> ImageBody:
    """Parse the body of a request. Raises InvalidInput."""
    if body.get("markup"):
        message = "drawings are not read; describe the change in the prompt, or send a mask"
        raise InvalidInput(FieldProblem(field="markup", message=message))
    try:
        return ImageBody.model_validate(body)
    except ValidationError as exc:
        raise rename_fields(InvalidInput(*problems_of(exc)), body) from None


def read_inputs(body: ImageBody, images: list[str]) -> list[dict[str, Any]]:
    """Map a request to the inputs of as many predictions as its `n` needs. Raises InvalidInput.

    An edit without a size has that of its first image.
    """
    fields: dict[str, Any] = {
        "prompt": body.prompt[:PROMPT_MAX_LENGTH],
        "output_format": body.output_format and body.output_format.replace("jpg", "jpeg"),
        "num_inference_steps": body.num_inference_steps,
        "guidance_scale": body.guidance_scale,
        "negative_prompt": body.negative_prompt or None,
        "mask_url": body.mask,
        "strength": body.strength,
        "previews": bool(body.is_streamed and body.partial_images) or None,
    }
    if body.output_compression is not None:
        fields["output_quality"] = max(body.output_compression, 1)
    if images:
        fields["image_urls"] = images
    size = _size(body) or (None if images else AUTO)
    if size is not None:
        fields["image_size"] = {"width": size[0], "height": size[1]}
    return [
        {k: v for k, v in (fields | share).items() if v is not None}
        for share in _shares(body.n, body.seed)
    ]


def rename_fields(exc: InvalidInput, sent: Collection[str]) -> InvalidInput:
    """Rename the fields of problems to OpenAI's names, or to those that were sent."""
    names = _FIELD_NAMES | {ours: theirs for ours, theirs in _SHORT_NAMES.items() if theirs in sent}
    return InvalidInput(
        *(
            FieldProblem(field=names.get(p.field.partition("[")[0], p.field), message=p.message)
            for p in exc.problems
        )
    )


def _shares(count: int | None, seed: int | None) -> list[dict[str, Any]]:
    """Divide a number of images among predictions, whose seeds follow each other."""
    shares: list[dict[str, Any]] = []
    for first in range(0, count or 1, IMAGES_MAX):
        share = min(IMAGES_MAX, (count or 1) - first)
        is_chosen = seed is not None and seed >= 0
        shares.append(
            {
                "num_images": None if count is None else share,
                "seed": seed + first if is_chosen and seed is not None else seed,
            }
        )
    return shares


def _size(body: ImageBody) -> tuple[int, int] | None:
    """Return the size in pixels, rounded to one that the model takes, or None for the default."""
    if body.width is not None or body.height is not None:
        return nearest_size(body.width or AUTO[0], body.height or AUTO[1])
    if body.size is None or body.size.strip().lower() in {"", "auto"}:
        return None
    size = parse_size(body.size)
    if size is None:
        message = "send WIDTHxHEIGHT in pixels such as 1024x1024, or auto"
        raise InvalidInput(FieldProblem(field="size", message=message))
    return nearest_size(*size)
