"""Maps requests and predictions to and from the form of Black Forest Labs. Does no I/O."""

import json
import math
import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from app.dialects.ignored_fields import ignored_notes
from app.dialects.image_links import ImageLinks, RenderOutput
from app.dialects.image_uri import uri_of
from app.dialects.model_names import NAMES, default_name, model_slug
from app.predictions.accounts import cost_of
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.errors import FieldProblem, InvalidInput, UnknownModel
from app.predictions.failure import Cause
from app.predictions.inputs import PROMPT_MAX_LENGTH, REFERENCES_MAX
from app.predictions.json_values import normalised
from app.predictions.prediction import Prediction, Status, Webhook
from app.predictions.problems import problems_of
from app.predictions.sizes import nearest_size
from app.webhooks.address import find_problem

_DEFAULT_SIDE = 1024  # px
_RATIO = re.compile(r"([1-9][0-9]{0,3}):([1-9][0-9]{0,3})")
_IMAGE = re.compile(r"input_image(?:_([2-9]|10))?|image_prompt")
_REFERENCE = re.compile(r"image_urls\[(\d+)\]")
# other models with the same input: some clients cannot send another name
_ALIAS = re.compile(
    r"flux-pro(-1\.1)?(-ultra)?|flux-dev|flux-kontext-(pro|max)|flux-2-(pro|max|flex|dev)"
)
_STATUS = {
    Status.QUEUED: "Pending",
    Status.RUNNING: "Pending",
    Status.SUCCEEDED: "Ready",
    Status.FAILED: "Error",
    Status.CANCELLED: "Error",
}
_MODERATED = "Content Moderated"


def _check_ratio(ratio: str) -> str:
    if not _RATIO.fullmatch(ratio):
        raise ValueError("must be width to height, such as 16:9")
    return ratio


class CreateBody(BaseModel):
    """The request to create an image. The notes name other fields, which have no effect here."""

    model_config = ConfigDict(strict=True, extra="ignore")
    _normalise = model_validator(mode="before")(normalised)

    prompt: str = Field(min_length=1, max_length=PROMPT_MAX_LENGTH)
    width: int | None = Field(None, ge=0, le=8192)  # 0, their default, is none
    height: int | None = Field(None, ge=0, le=8192)
    aspect_ratio: Annotated[str, AfterValidator(_check_ratio)] | None = None
    seed: int | None = None
    steps: int | None = Field(None, ge=1, le=50)
    guidance: float | None = Field(None, ge=0, le=20)
    output_format: Literal["jpeg", "png", "webp"] = "jpeg"
    mask: str | None = None
    webhook_url: str | None = None
    webhook_secret: str | None = None
    images: dict[str, str] = Field(default_factory=dict, exclude=True)

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height in pixels, rounded to a size that the model takes, or None for the size of the first image."""
        if self.width or self.height:
            return nearest_size(self.width or _DEFAULT_SIDE, self.height or _DEFAULT_SIDE)
        if self.aspect_ratio and (match := _RATIO.fullmatch(self.aspect_ratio)):
            across, down = int(match[1]), int(match[2])
            unit = _DEFAULT_SIDE / math.sqrt(across * down)
            return nearest_size(round(across * unit), round(down * unit))
        return None if self.images else (_DEFAULT_SIDE, _DEFAULT_SIDE)


def parse_create(body: dict[str, Any]) -> CreateBody:
    """Parse the body of a create. Raises InvalidInput."""
    images = {
        name: body[name]
        for name in sorted(body, key=_place)
        if _IMAGE.fullmatch(name) and body[name] is not None and body[name] != ""
    }
    if body.get("input_image_blob_path"):
        message = "images are not read from there; send them in input_image and input_image_2"
        raise InvalidInput(FieldProblem(field="input_image_blob_path", message=message))
    if len(images) > REFERENCES_MAX:
        message = f"send at most {REFERENCES_MAX} images"
        raise InvalidInput(FieldProblem(field=list(images)[REFERENCES_MAX], message=message))
    if wrong := [name for name, value in images.items() if not isinstance(value, str)]:
        message = "send an image as a URL, a data URI or base64"
        raise InvalidInput(*(FieldProblem(field=name, message=message) for name in wrong))
    try:
        parsed = CreateBody.model_validate(
            {**body, "aspect_ratio": body.get("aspect_ratio") or None}  # forms send an empty one
            | {"images": {k: uri_of(v) for k, v in images.items()}}
        )
    except ValidationError as exc:
        raise InvalidInput(*problems_of(exc)) from None
    if parsed.webhook_url and (problem := find_problem(parsed.webhook_url)):
        raise InvalidInput(FieldProblem(field="webhook_url", message=problem))
    return parsed


def find_name(name: str, served: frozenset[CheckpointKind]) -> str:
    """Return klein's name of a model. The name of another vendor's model means the served one. Raises UnknownModel."""
    if _ALIAS.fullmatch(name):
        return default_name(served)
    if name not in NAMES.values():
        raise UnknownModel(name)
    return name


def read_input(name: str, body: CreateBody) -> tuple[str, dict[str, Any]]:
    """Map a request to a slug and the input of its model, which has this name of klein's."""
    fields: dict[str, Any] = {
        "prompt": body.prompt,
        "seed": body.seed,
        "num_inference_steps": body.steps,
        "guidance_scale": body.guidance,
        "output_format": body.output_format,
        "image_urls": list(body.images.values()) or None,
        "mask_url": uri_of(body.mask) if body.mask else None,
    }
    if (size := body.size) is not None:
        fields["image_size"] = {"width": size[0], "height": size[1]}
    slug = model_slug(name, is_edit=bool(body.images))
    return slug, {field: value for field, value in fields.items() if value is not None}


def read_notes(body: dict[str, Any], *, is_guided: bool) -> tuple[str, ...]:
    """Return a warning for each field of a request that has no effect."""
    taken = set(CreateBody.model_fields) - ({"images"} if is_guided else {"images", "guidance"})
    return ignored_notes(
        [
            name
            for name, value in body.items()
            if not (name in taken or _IMAGE.fullmatch(name) or value is None or value is False)
        ]
    )


def rename_fields(exc: InvalidInput, body: CreateBody) -> InvalidInput:
    """Rename the fields of problems to those that were sent."""
    names = {"guidance_scale": "guidance", "num_inference_steps": "steps", "mask_url": "mask"}
    sent = list(body.images)

    def rename(field: str) -> str:
        match = _REFERENCE.match(field)
        return sent[int(match[1])] if match else names.get(field, field)

    return InvalidInput(
        *(FieldProblem(field=rename(p.field), message=p.message) for p in exc.problems)
    )


def read_webhook(body: CreateBody, base: str) -> Webhook | None:
    """Return the webhook of a request, if it has one."""
    if not body.webhook_url:
        return None
    return Webhook(
        url=body.webhook_url, secret=body.webhook_secret or None, base=base, dialect="bfl"
    )


def accepted_body(prediction: Prediction, image_links: ImageLinks) -> dict[str, Any]:
    """Render the response to a create."""
    return {
        "id": prediction.id,
        "polling_url": f"{image_links.api}/v1/get_result?id={prediction.id}",
    }


def result_body(prediction: Prediction, show: RenderOutput) -> dict[str, Any]:
    """Render a prediction."""
    status = _STATUS[prediction.status]
    if prediction.failure is not None and prediction.failure.cause is Cause.WITHHELD:
        status = _MODERATED
    return {
        "id": prediction.id,
        "status": status,
        "result": _result(prediction, show),
        "progress": prediction.step / prediction.steps if prediction.steps else None,
        "details": _details(prediction),
        "preview": None,
    }


def not_found_body(prediction_id: str) -> dict[str, Any]:
    """Render the state of an id that this key does not have."""
    return {"id": prediction_id, "status": "Task not found", "result": None}


def webhook_body(prediction: Prediction, _image_links: ImageLinks, show: RenderOutput) -> bytes:
    """Render the body of a webhook, which is the result."""
    body = result_body(prediction, show)
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _result(prediction: Prediction, show: RenderOutput) -> dict[str, Any] | None:
    started, ended = prediction.started_at, prediction.finished_at
    if prediction.status is not Status.SUCCEEDED or started is None or ended is None:
        return None
    return {
        "sample": show(prediction.outputs[0]),
        "prompt": prediction.prompt,
        "seed": prediction.input.get("seed"),
        "start_time": started.timestamp(),
        "end_time": ended.timestamp(),
        "duration": prediction.run_time.total_seconds(),
    }


def _details(prediction: Prediction) -> dict[str, Any] | None:
    if prediction.failure is not None:
        return {"error": prediction.failure.message}
    if prediction.status is Status.CANCELLED:
        return {"error": "the prediction was cancelled"}
    if prediction.status is Status.SUCCEEDED:
        return {"cost": cost_of(prediction), "notes": list(prediction.notes)}
    return None


def _place(name: str) -> int:
    match = _IMAGE.fullmatch(name)
    return int(match[1] or 1) if match else 0
