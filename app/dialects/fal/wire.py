"""Maps requests and predictions to and from the form of fal. Does no I/O. The input is that of each::labs, with any size."""

import json
import mimetypes
import re
from typing import Any
from urllib.parse import urlsplit

from app.dialects.ignored_fields import ignored_notes
from app.dialects.image_links import ImageLinks, RenderOutput, format_time
from app.dialects.model_names import NAMES, model_slug
from app.predictions.catalog import Model
from app.predictions.errors import FieldProblem, InvalidInput, UnknownModel
from app.predictions.json_values import whole
from app.predictions.prediction import Prediction, Status, Webhook
from app.predictions.sizes import nearest_size
from app.webhooks.address import find_problem

_APP = re.compile(
    r"(?:fal-ai/)?flux-2[/-]klein/(4b|9b)(/base)?(?:/distilled)?(?:/text-to-image)?(/edit)?(?:/lora)?"
)
_HOSTS = {  # of the URLs that fal's clients call, and where klein serves the same
    "queue.fal.run": "/fal/queue",
    "fal.run": "/fal/run",
    "rest.fal.ai": "/fal/rest",
    "rest.alpha.fal.ai": "/fal/rest",
}
_STATUS = {Status.QUEUED: "IN_QUEUE", Status.RUNNING: "IN_PROGRESS"}
COMPLETED = "COMPLETED"
_SIDE_DEFAULT, _SIDE_MAX = 512, 14142  # px, as fal's schema says
_NO_EFFECT = {"acceleration", "enable_safety_checker"}
_GUIDED = {"guidance_scale", "negative_prompt"}  # have an effect if the checkpoint is guided


def find_slug(app_id: str) -> str:
    """Return the slug of an application, such as fal-ai/flux-2/klein/4b/edit. Raises UnknownModel."""
    match = _APP.fullmatch(app_id.strip("/"))
    name = match and f"flux-2-klein-{match[1]}{'-base' if match[2] else ''}"
    if match is None or name not in NAMES.values():
        raise UnknownModel(app_id)
    return model_slug(str(name), is_edit=match[3] is not None)


def find_target(url: str) -> tuple[str, str]:
    """Return the path and the query at which klein serves a URL of fal. Raises InvalidInput."""
    parts = urlsplit(url)
    if parts.hostname not in _HOSTS:
        message = f"send a URL of {', '.join(_HOSTS)}"
        raise InvalidInput(FieldProblem(field="x-fal-target-url", message=message))
    return _HOSTS[parts.hostname] + parts.path, parts.query


def read_input(body: dict[str, Any]) -> dict[str, Any]:
    """Map an input to that of its model: a size in pixels is rounded to one that the model takes. Raises InvalidInput."""
    size = body.get("image_size")
    if not isinstance(size, dict):
        return body
    sides = [
        _SIDE_DEFAULT if size.get(side) is None else whole(size[side])
        for side in ("width", "height")
    ]
    if not all(type(side) is int and 1 <= side <= _SIDE_MAX for side in sides):
        message = f"width and height must be whole numbers from 1 to {_SIDE_MAX}"
        raise InvalidInput(FieldProblem(field="image_size", message=message))
    width, height = nearest_size(*sides)
    return body | {"image_size": {"width": width, "height": height}}


def read_notes(body: dict[str, Any], model: Model) -> tuple[str, ...]:
    """Return a warning for each field of an input that has no effect."""
    taken = set(model.input.model_fields) - _NO_EFFECT
    if not model.checkpoint.is_guided:
        taken -= _GUIDED
    return ignored_notes(
        [name for name, value in body.items() if value is not None and name not in taken]
    )


def read_webhook(url: str, base: str) -> Webhook | None:
    """Return the webhook of a request, if it has one. Raises InvalidInput."""
    if not url:
        return None
    if problem := find_problem(url):
        raise InvalidInput(FieldProblem(field="fal_webhook", message=problem))
    return Webhook(url=url, base=base, dialect="fal")


def status_body(
    prediction: Prediction, app_id: str, image_links: ImageLinks, *, has_logs: bool
) -> dict[str, Any]:
    """Render the state of a prediction, with its URLs."""
    url = f"{image_links.base}/fal/queue/{app_id}/requests/{prediction.id}"
    status = _STATUS.get(prediction.status, COMPLETED)
    body: dict[str, Any] = {
        "status": status,
        "request_id": prediction.id,
        "response_url": url,
        "status_url": f"{url}/status",
        "cancel_url": f"{url}/cancel",
        "logs": _logs(prediction) if has_logs else None,
    }
    if status == "IN_QUEUE":
        body["queue_position"] = 0
    if status == COMPLETED:
        body["metrics"] = {"inference_time": prediction.run_time.total_seconds()}
        if prediction.status is Status.CANCELLED:
            body |= {"error": "the request was cancelled", "error_type": "cancelled"}
        elif prediction.failure is not None:
            body |= {"error": prediction.failure.message, "error_type": prediction.failure.cause}
    return body


def output_body(prediction: Prediction, show: RenderOutput) -> dict[str, Any]:
    """Render the output of a prediction that has succeeded."""
    images = [
        {
            "url": show(output),
            "width": output.width,
            "height": output.height,
            "content_type": mimetypes.guess_type(output.key)[0],
        }
        for output in prediction.outputs
    ]
    body = {
        "images": images,
        "timings": {"inference": prediction.run_time.total_seconds()},
        "seed": prediction.input.get("seed"),
        "has_nsfw_concepts": [False] * len(images),
        "prompt": prediction.prompt,
    }
    return body | ({"klein_notes": list(prediction.notes)} if prediction.notes else {})


def webhook_body(prediction: Prediction, _image_links: ImageLinks, show: RenderOutput) -> bytes:
    """Render the body of a webhook."""
    is_success = prediction.status is Status.SUCCEEDED
    body: dict[str, Any] = {
        "request_id": prediction.id,
        "gateway_request_id": prediction.id,
        "status": "OK" if is_success else "ERROR",
        "payload": output_body(prediction, show) if is_success else None,
    }
    if prediction.failure is not None:
        body["error"] = prediction.failure.message
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _logs(prediction: Prediction) -> list[dict[str, Any]]:
    """Render notes and progress."""
    lines = list(prediction.notes)
    if prediction.steps:
        lines.append(f"step {prediction.step} of {prediction.steps}")
    at = format_time(prediction.finished_at or prediction.started_at or prediction.created_at)
    return [
        {"message": line, "level": "INFO", "source": "klein", "timestamp": at} for line in lines
    ]
