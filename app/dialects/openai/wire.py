"""Maps requests and predictions to and from the form of OpenAI's images API; pure."""

import base64
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from app.dialects import model_names
from app.dialects.image_links import ImageLinks
from app.dialects.model_names import NAMES
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.errors import FieldProblem, InvalidInput, UnknownModel
from app.predictions.prediction import Output, Prediction
from app.predictions.problems import problems_of

REQUESTS = re.compile(r"[A-Z]+ /v1/images(/|$)")  # those whose errors are in OpenAI's form
RELEASED = datetime(2026, 1, 15, tzinfo=UTC)
AUTO = (1024, 1024)  # px, the default size
_SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")
_FIELD_NAMES = {
    "image_urls": "image",
    "image_size": "size",
    "num_images": "n",
    "output_quality": "output_compression",
}


def _number(value: Any) -> Any:
    """Convert the digits of a form field to a number."""
    is_digits = isinstance(value, str) and value.isascii() and value.isdecimal()
    return int(value) if is_digits else value


Whole = Annotated[int, BeforeValidator(_number)]


class ImageBody(BaseModel):
    """A request for images; `seed` and `num_inference_steps` are not part of OpenAI's API.

    Fields without an effect here (quality, moderation, style, user and others) are ignored.
    """

    model_config = ConfigDict(strict=True, extra="ignore")

    prompt: str
    model: str | None = None
    n: Whole | None = None
    size: str | None = None
    background: Literal["auto", "opaque"] | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    output_compression: Annotated[Whole, Field(ge=0, le=100)] | None = None
    response_format: Literal["url", "b64_json"] | None = None
    stream: Literal[False, "false"] | None = None
    seed: Whole | None = None
    num_inference_steps: Whole | None = None


def parse_body(body: dict[str, Any]) -> ImageBody:
    """Parse the body of a request. Raises InvalidInput."""
    problems = []
    if body.get("mask") is not None:
        problems.append(
            FieldProblem(field="mask", message="this model has no masks; say it in words")
        )
    if body.get("stream") in [True, "true"]:
        problems.append(
            FieldProblem(field="stream", message="pictures are not streamed; leave it out")
        )
    if problems:
        raise InvalidInput(*problems)
    try:
        return ImageBody.model_validate(body)
    except ValidationError as exc:
        raise InvalidInput(*problems_of(exc)) from None


def find_slug(name: str | None, served: frozenset[CheckpointKind], *, is_edit: bool) -> str:
    """Return the slug for a model name on this route. Raises UnknownModel."""
    if name is None:
        is_default_served = CheckpointKind.DISTILLED in served
        name = NAMES[CheckpointKind.DISTILLED if is_default_served else min(served)]
    short = model_names.shared_name(name)
    if short not in NAMES.values():
        raise UnknownModel(name)
    return model_names.model_slug(short, is_edit=is_edit)


def read_input(body: ImageBody, images: list[str]) -> dict[str, Any]:
    """Map a request to the input of the catalog's model. Raises InvalidInput.

    An edit without a size has that of its first image.
    """
    read: dict[str, Any] = {
        "prompt": body.prompt,
        "num_images": body.n,
        "output_format": body.output_format,
        "seed": body.seed,
        "num_inference_steps": body.num_inference_steps,
    }
    if body.output_compression is not None:
        read["output_quality"] = max(body.output_compression, 1)
    if images:
        read["image_urls"] = images
    size = _size(body.size) or (None if images else AUTO)
    if size is not None:
        read["image_size"] = {"width": size[0], "height": size[1]}
    return {field: value for field, value in read.items() if value is not None}


def rename_fields(exc: InvalidInput) -> InvalidInput:
    """Rename the fields of problems to OpenAI's names."""
    return InvalidInput(
        *(
            FieldProblem(
                field=_FIELD_NAMES.get(p.field.partition("[")[0], p.field), message=p.message
            )
            for p in exc.problems
        )
    )


def data_uri(data: bytes) -> str:
    """Encode an uploaded file as a data URI; the service checks its content."""
    return "data:application/octet-stream;base64," + base64.b64encode(data).decode()


def images_body(
    prediction: Prediction, image_links: ImageLinks, files: list[bytes] | None, *, with_urls: bool
) -> dict[str, Any]:
    """Render the images of a prediction as files, URLs, or both."""
    first = prediction.outputs[0]
    return {
        "created": round(prediction.created_at.timestamp()),
        "background": "opaque",
        "output_format": prediction.input.get("output_format", "png"),
        "size": f"{first.width}x{first.height}",
        "data": [
            _picture(
                prediction, image_links, output, files[k] if files else None, with_urls=with_urls
            )
            for k, output in enumerate(prediction.outputs)
        ],
    }


def models_body(served: frozenset[CheckpointKind]) -> dict[str, Any]:
    """Render the list of models."""
    return {"object": "list", "data": [model_body(NAMES[kind]) for kind in sorted(served)]}


def model_body(name: str) -> dict[str, Any]:
    """Render a model."""
    return {
        "id": name,
        "object": "model",
        "created": round(RELEASED.timestamp()),
        "owned_by": "black-forest-labs",
    }


def error_body(status: int, message: str, param: str | None, code: str | None) -> dict[str, Any]:
    """Render an error."""
    kinds = {429: "rate_limit_error"}
    kind = "server_error" if status >= 500 else kinds.get(status, "invalid_request_error")  # noqa: PLR2004
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _picture(
    prediction: Prediction,
    image_links: ImageLinks,
    output: Output,
    data: bytes | None,
    *,
    with_urls: bool,
) -> dict[str, str]:
    shown = {} if data is None else {"b64_json": base64.b64encode(data).decode()}
    return shown | ({"url": image_links.url(prediction, output)} if with_urls else {})


def _size(text: str | None) -> tuple[int, int] | None:
    if text in {None, "", "auto"}:
        return None
    match = _SIZE.fullmatch(text or "")
    if match is None:
        raise InvalidInput(
            FieldProblem(
                field="size", message="send WIDTHxHEIGHT in pixels such as 1024x1024, or auto"
            )
        )
    return int(match[1]), int(match[2])
