"""Maps requests to and from the form of Hugging Face's inference endpoints for text-to-image and image-to-image. Does no I/O."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.dialects.ignored_fields import ignored_notes
from app.dialects.image_uri import uri_of
from app.dialects.model_names import NAMES, model_slug
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.errors import FieldProblem, InvalidInput
from app.predictions.json_values import normalised
from app.predictions.problems import problems_of
from app.predictions.sizes import nearest_size

DEFAULT_SIDE = 1024  # px
_PASSED_ON = {"num_inference_steps", "guidance_scale", "negative_prompt", "seed"}
_FORMATS = {"image/png": "png", "image/jpeg": "jpeg", "image/jpg": "jpeg", "image/webp": "webp"}
_NAMES = {"prompt": "inputs", "image_size": "width"}
_NAMES_OF_EDIT = {"image_urls": "inputs", "image_size": "target_size"}


class TargetSize(BaseModel):
    """The size of an edited image, in pixels."""

    model_config = ConfigDict(strict=True, extra="ignore")
    _normalise = model_validator(mode="before")(normalised)

    width: int = Field(ge=1, le=8192)
    height: int = Field(ge=1, le=8192)


class Parameters(BaseModel):
    """What a request asks for besides its inputs."""

    model_config = ConfigDict(strict=True, extra="ignore")
    _normalise = model_validator(mode="before")(normalised)

    prompt: str | None = None  # makes it an edit, and `inputs` the image
    width: int | None = Field(None, ge=1, le=8192)
    height: int | None = Field(None, ge=1, le=8192)
    target_size: TargetSize | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    negative_prompt: str | None = None
    seed: int | None = None


class Body(BaseModel):
    """A request for an image."""

    model_config = ConfigDict(strict=True, extra="ignore")
    _normalise = model_validator(mode="before")(normalised)

    inputs: str = Field(min_length=1)  # the prompt, or the image of an edit
    parameters: dict[str, Any] = Field(default_factory=dict)


def read_input(
    body: dict[str, Any], served: frozenset[CheckpointKind]
) -> tuple[str, dict[str, Any]]:
    """Map a request to the slug of what is served and the input of its model. Raises InvalidInput."""
    try:
        parsed = Body.model_validate(body)
        parameters = Parameters.model_validate(parsed.parameters)
    except ValidationError as exc:
        raise InvalidInput(*problems_of(exc)) from None
    fields = parameters.model_dump(include=_PASSED_ON, exclude_none=True)
    if (size := _size(parameters)) is not None:
        fields["image_size"] = {"width": size[0], "height": size[1]}
    if is_edit(body):
        fields |= {"prompt": parameters.prompt, "image_urls": [uri_of(parsed.inputs)]}
    else:
        fields["prompt"] = parsed.inputs
    is_distilled = CheckpointKind.DISTILLED in served or not served
    name = NAMES[CheckpointKind.DISTILLED if is_distilled else min(served)]
    return model_slug(name, is_edit=is_edit(body)), fields


def is_edit(body: dict[str, Any]) -> bool:
    """Return whether a request has an image as its inputs: then its prompt is a parameter."""
    parameters = body.get("parameters")
    return isinstance(parameters, dict) and parameters.get("prompt") is not None


def _size(parameters: Parameters) -> tuple[int, int] | None:
    """Return the size to draw, in pixels. None means that of the image to edit."""
    if (target := parameters.target_size) is not None:
        return nearest_size(target.width, target.height)
    if parameters.prompt is not None and parameters.width is None and parameters.height is None:
        return None
    return nearest_size(parameters.width or DEFAULT_SIDE, parameters.height or DEFAULT_SIDE)


def read_notes(body: dict[str, Any]) -> tuple[str, ...]:
    """Return a warning for each field of a valid request that has no effect."""
    parameters = body.get("parameters") or {}
    ignored = [name for name in body if name not in Body.model_fields]
    ignored += [
        f"parameters.{name}"
        for name, value in parameters.items()
        if name not in Parameters.model_fields and value is not None
    ]
    return ignored_notes(ignored)


def notes_header(notes: tuple[str, ...]) -> dict[str, str]:
    """Return the response header that has the warnings. Names of fields are any text, and a header is ASCII."""
    text = "; ".join(notes).encode("ascii", "backslashreplace").decode()
    return {"X-Klein-Notes": text} if notes else {}


def output_format(accept: str) -> str:
    """Return the format of images that the header Accept names first, or else png."""
    types = (part.partition(";")[0].strip().lower() for part in accept.split(","))
    return next((_FORMATS[name] for name in types if name in _FORMATS), "png")


def rename_fields(exc: InvalidInput, *, of_edit: bool) -> InvalidInput:
    """Rename the fields of problems to those of this API."""
    names = _NAMES_OF_EDIT if of_edit else _NAMES
    renamed = (
        FieldProblem(field=names.get(p.field.partition("[")[0], p.field), message=p.message)
        for p in exc.problems
    )
    return InvalidInput(*renamed)
