"""Renders predictions, models, files and errors in the form of OpenAI's API. Does no I/O."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.dialects.image_links import ImageLinks
from app.dialects.openai.body import ImageBody
from app.dialects.openai.names import ModelNames
from app.predictions.prediction import Output, Prediction
from app.uploads import Upload

REQUESTS = re.compile(r"[A-Z]+ /v1/images(/|$)")  # those whose errors are in OpenAI's form
RELEASED = datetime(2026, 1, 15, tzinfo=UTC)
USAGE = {  # nobody bills tokens
    "total_tokens": 0,
    "input_tokens": 0,
    "output_tokens": 0,
    "input_tokens_details": {"text_tokens": 0, "image_tokens": 0},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What each image of an answer has."""

    has_file: bool
    has_url: bool


def form_of(body: ImageBody, names: ModelNames) -> Form:
    """Return the form that the request chooses, or else the one that the vendor's model of that name returns."""
    if body.response_format is not None:
        is_url = body.response_format == "url"
        return Form(has_file=not is_url, has_url=is_url)
    if body.model and names.is_alias(body.model):
        is_url = body.model.startswith("dall-e")
        return Form(has_file=not is_url, has_url=is_url)
    return Form(has_file=True, has_url=True)


def images_body(ended: Sequence[Prediction], images: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Render the answer to a request for images."""
    first = ended[0]
    return {
        "created": round(first.created_at.timestamp()),
        **appearance(first, first.outputs[0]),
        "data": [{"index": k, **image} for k, image in enumerate(images)],
        "usage": USAGE,
    }


def appearance(prediction: Prediction, output: Output) -> dict[str, Any]:
    """Return how an image looks."""
    return {
        "background": "opaque",
        "output_format": prediction.input.get("output_format", "png"),
        "quality": "high",
        "size": f"{output.width}x{output.height}",
    }


def image_body(
    prediction: Prediction, output: Output, data: bytes | None, image_links: ImageLinks, form: Form
) -> dict[str, Any]:
    """Render an image as a file, a URL, or both."""
    shown = {} if data is None else {"b64_json": base64.b64encode(data).decode()}
    return shown | ({"url": image_links.url(prediction, output)} if form.has_url else {})


def models_body(names: Sequence[str]) -> dict[str, Any]:
    """Render the list of models."""
    return {"object": "list", "data": [model_body(name) for name in names]}


def model_body(name: str) -> dict[str, Any]:
    """Render a model."""
    return {
        "id": name,
        "object": "model",
        "created": round(RELEASED.timestamp()),
        "owned_by": "black-forest-labs",
    }


def file_body(upload: Upload) -> dict[str, Any]:
    """Render an uploaded file."""
    return {
        "id": upload.id,
        "object": "file",
        "bytes": upload.size_bytes,
        "created_at": round(upload.opened_at.timestamp()),
        "expires_at": round(upload.expires_at.timestamp()),
        "filename": upload.name,
        "purpose": upload.metadata.get("purpose", "vision"),
        "status": "processed",
    }


def error_body(status: int, message: str, param: str | None, code: str | None) -> dict[str, Any]:
    """Render an error."""
    kinds = {429: "rate_limit_error"}
    kind = "server_error" if status >= 500 else kinds.get(status, "invalid_request_error")  # noqa: PLR2004
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
