"""Maps requests to and from the form of a Hugging Face inference endpoint for text-to-image. Does no I/O."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.dialects.ignored_fields import ignored_notes
from app.dialects.model_names import NAMES, model_slug
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.errors import FieldProblem, InvalidInput
from app.predictions.inputs import PROMPT_MAX_LENGTH
from app.predictions.json_values import normalised
from app.predictions.problems import problems_of
from app.predictions.sizes import nearest_size

DEFAULT_SIDE = 1024  # px
_FORMATS = {"image/png": "png", "image/jpeg": "jpeg", "image/jpg": "jpeg", "image/webp": "webp"}
_NAMES = {"prompt": "inputs", "image_size": "width"}


class Parameters(BaseModel):
    """What a request asks for besides its prompt."""

    model_config = ConfigDict(strict=True, extra="ignore")
    _normalise = model_validator(mode="before")(normalised)

    width: int = Field(DEFAULT_SIDE, ge=1, le=8192)
    height: int = Field(DEFAULT_SIDE, ge=1, le=8192)
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    negative_prompt: str | None = None
    seed: int | None = None


class TextToImageBody(BaseModel):
    """A request for an image."""

    model_config = ConfigDict(strict=True, extra="ignore")
    _normalise = model_validator(mode="before")(normalised)

    inputs: str = Field(min_length=1, max_length=PROMPT_MAX_LENGTH)
    parameters: dict[str, Any] = Field(default_factory=dict)


def read_input(
    body: dict[str, Any], served: frozenset[CheckpointKind]
) -> tuple[str, dict[str, Any]]:
    """Map a request to the slug of what is served and the input of its model. Raises InvalidInput."""
    try:
        parsed = TextToImageBody.model_validate(body)
        parameters = Parameters.model_validate(parsed.parameters)
    except ValidationError as exc:
        raise InvalidInput(*problems_of(exc)) from None
    width, height = nearest_size(parameters.width, parameters.height)
    fields = parameters.model_dump(exclude={"width", "height"}, exclude_none=True)
    fields |= {"prompt": parsed.inputs, "image_size": {"width": width, "height": height}}
    is_distilled = CheckpointKind.DISTILLED in served or not served
    name = NAMES[CheckpointKind.DISTILLED if is_distilled else min(served)]
    return model_slug(name, is_edit=False), fields


def read_notes(body: dict[str, Any]) -> tuple[str, ...]:
    """Return a warning for each field of a valid request that has no effect."""
    parameters = body.get("parameters") or {}
    ignored = [name for name in body if name not in TextToImageBody.model_fields]
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


def rename_fields(exc: InvalidInput) -> InvalidInput:
    """Rename the fields of problems to those of this API."""
    return InvalidInput(
        *(FieldProblem(field=_NAMES.get(p.field, p.field), message=p.message) for p in exc.problems)
    )
