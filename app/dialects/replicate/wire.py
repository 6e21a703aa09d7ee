"""Maps requests and predictions to and from the form of Replicate. Does no I/O.

The bodies contain what the client `replicate` reads. `input.py` maps the input.
"""

import json
import re
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from app.dialects.image_links import ImageLinks, Link, RenderOutput, format_time
from app.dialects.model_names import model_slug, shared_name
from app.dialects.replicate.input import Input, show_input, type_of
from app.dialects.replicate.models import (
    MODEL_NAMES,
    OWNER,
    VERSIONS,
    base_name,
    kind_of,
    shown_name,
)
from app.predictions.catalog import MODELS
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.errors import FieldProblem, InvalidInput
from app.predictions.prediction import Prediction, Status, Webhook
from app.predictions.problems import problems_of
from app.predictions.webhook_event import WebhookEvent
from app.uploads import Upload
from app.webhooks.address import find_problem

REQUESTS = re.compile(
    r"[A-Z]+ /v1/(predictions|models/[^/]+/(?!schemas/)[^/]+"
    r"|deployments|trainings|collections|hardware|account)(/|$)"
    r"|[A-Z]+ /v1/files$|GET /v1/files/|[A-Z]+ /v1/webhooks/default/secret$|[A-Z]+ /v1/search$"
)
PAGE = 100  # predictions or files in a list
FILES_KEPT = timedelta(days=1)  # as at Replicate
_STATUS = {
    Status.QUEUED: "starting",
    Status.RUNNING: "processing",
    Status.SUCCEEDED: "succeeded",
    Status.FAILED: "failed",
    Status.CANCELLED: "canceled",
}
_DEFAULT_EVENTS = (WebhookEvent.OUTPUT, WebhookEvent.COMPLETED)
_BAR = 20  # characters of the progress bar in the logs


class CreateBody(BaseModel):
    """The request to create a prediction."""

    model_config = ConfigDict(extra="ignore", strict=True)

    input: dict[str, Any]
    version: str | None = None
    webhook: str | None = None
    webhook_events_filter: list[Literal["start", "output", "logs", "completed"]] | None = None


def parse_create(body: dict[str, Any]) -> CreateBody:
    """Parse the body of a create. Raises InvalidInput."""
    try:
        parsed = CreateBody.model_validate(body)
    except ValidationError as exc:
        raise InvalidInput(*problems_of(exc)) from None
    if parsed.webhook and (problem := find_problem(parsed.webhook)):
        raise InvalidInput(FieldProblem(field="webhook", message=problem))
    return parsed


def read_webhook(body: CreateBody, base: str, secret: str) -> Webhook | None:
    """Return the webhook of a request, if it wants any event. The default events are output and completed."""
    names = body.webhook_events_filter
    events = _DEFAULT_EVENTS if names is None else tuple(e for e in WebhookEvent if e in names)
    if not body.webhook or not events:
        return None
    return Webhook(
        url=body.webhook,
        secret=secret,
        sends_secret=False,
        base=base,
        dialect="replicate",
        on_cancel=True,
        events=events,
    )


def prediction_body(
    prediction: Prediction, image_links: ImageLinks, show: RenderOutput
) -> dict[str, Any]:
    """Render a prediction. `output` is always a list of URLs."""
    url = f"{image_links.api}/v1/predictions/{prediction.id}"
    name = shown_name(shared_name(prediction.model), has_loras=bool(prediction.input.get("loras")))
    ended = prediction.finished_at
    metrics = {}
    if prediction.status is Status.SUCCEEDED and ended is not None:
        metrics = {
            "predict_time": prediction.run_time.total_seconds(),
            "total_time": (ended - prediction.created_at).total_seconds(),
        }
    return {
        "id": prediction.id,
        "model": f"{OWNER}/{name}",
        "version": "hidden",  # as for every official model
        "input": show_input(image_links.input(prediction), MODELS[prediction.model].default_size),
        "logs": _logs(prediction),
        "output": [show(output) for output in prediction.outputs] or None,
        "data_removed": False,
        "error": prediction.failure.message if prediction.failure else None,
        "status": _STATUS[prediction.status],
        "source": "api",
        "created_at": format_time(prediction.created_at),
        "started_at": format_time(prediction.started_at),
        "completed_at": format_time(ended),
        "urls": {"get": url, "cancel": f"{url}/cancel"},
        "metrics": metrics,
    }


def webhook_body(prediction: Prediction, image_links: ImageLinks, show: RenderOutput) -> bytes:
    """Render the body of a webhook, which is the prediction."""
    body = prediction_body(prediction, image_links, show)
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def metadata_of(text: str | None) -> dict[str, Any]:
    """Parse the metadata of a file. Raises InvalidInput."""
    try:
        metadata = from_json(text or "{}", allow_inf_nan=False)  # bounds depth and numbers
    except ValueError:
        metadata = None
    if not isinstance(metadata, dict):
        raise InvalidInput(FieldProblem(field="metadata", message="send a JSON object"))
    return metadata


def file_body(upload: Upload, link: Link) -> dict[str, Any]:
    """Render a file. Its URL can be used as an input."""
    return {
        "id": upload.id,
        "name": upload.name,
        "content_type": upload.media_type,
        "size": upload.size_bytes,
        "etag": upload.sha256,
        "checksums": {"sha256": upload.sha256},
        "metadata": upload.metadata,
        "created_at": format_time(upload.opened_at),
        "expires_at": format_time(upload.expires_at),
        "urls": {"get": link(upload.key, upload.expires_at)},
    }


def model_body(name: str, base: str, at: datetime) -> dict[str, Any]:
    """Render a model."""
    return {
        "url": f"{base}/v1/models/{OWNER}/{name}",
        "owner": OWNER,
        "name": name,
        "description": MODELS[model_slug(base_name(name), is_edit=False)].title.removesuffix(
            " Text to Image"
        ),
        "visibility": "public",
        "github_url": None,
        "paper_url": None,
        "license_url": None,
        "run_count": 0,
        "cover_image_url": None,
        "default_example": None,
        "latest_version": version_body(name, at),
    }


def served_models(served: frozenset[CheckpointKind]) -> list[str]:
    """Return the names of the models that the workers serve."""
    return [name for name in MODEL_NAMES if kind_of(name) in served]


def list_body(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Render a list that has one page."""
    return {"previous": None, "next": None, "results": results}


def account_body() -> dict[str, Any]:
    """Render the account, which is the same for every key."""
    return {
        "type": "user",
        "username": "klein",
        "name": "klein",
        "avatar_url": None,
        "github_url": None,
    }


def version_body(name: str, at: datetime) -> dict[str, Any]:
    """Render the only version of a model, with the schemas of input and output."""
    schema = _input_schema(type_of(name))
    output = {"type": "array", "items": {"type": "string", "format": "uri"}, "title": "Output"}
    return {
        "id": VERSIONS[name],
        "created_at": format_time(at),
        "cog_version": "0.0.0",
        "openapi_schema": {
            "openapi": "3.0.2",
            "info": {"title": name, "version": "0.1.0"},
            "paths": {},
            "components": {"schemas": {"Input": schema, "Output": output}},
        },
    }


@cache
def _input_schema(kind: type[Input]) -> dict[str, Any]:
    """Build a schema once, because anyone may ask for it."""
    return kind.model_json_schema()


def _logs(prediction: Prediction) -> str:
    """Render seed, notes and progress, in the form that Replicate's clients read progress from."""
    lines = [f"Using seed: {prediction.input.get('seed')}", *prediction.notes]
    if prediction.steps:
        done = prediction.step / prediction.steps
        bar = ("█" * round(done * _BAR)).ljust(_BAR)
        lines.append(f"{done:4.0%}|{bar}| {prediction.step}/{prediction.steps}")
    return "\n".join(lines)
