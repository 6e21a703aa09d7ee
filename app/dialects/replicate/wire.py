"""klein's predictions in the words of Replicate, and back; a pure mapping.

Fields, choices and defaults are those of black-forest-labs/flux-2-klein-4b as Replicate publishes it; its prediction,
list and error bodies are those that the client `replicate` reads.
"""

import json
import math
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.dialects.pictures import Link, Pictures, Show, time_text
from app.predictions.catalog import MODELS, CheckpointKind, Model
from app.predictions.errors import FieldProblem, InvalidInput, UnknownModel
from app.predictions.inputs import (
    NAMED_SIZES,
    PIXELS_MAX,
    PROMPT_MAX_LENGTH,
    REFERENCES_MAX,
    SIDE_MULTIPLE,
)
from app.predictions.prediction import Prediction, Status, Webhook
from app.predictions.problems import problems_of
from app.uploads import Upload
from app.webhooks.address import WHAT_TO_SEND, is_url

OWNER = "black-forest-labs"
NAMES = {"flux-2-klein-4b": CheckpointKind.DISTILLED, "flux-2-klein-4b-base": CheckpointKind.BASE}
VERSION = "8e9c42d77b10a2a41af823ac4500f7545be6ebc4e745830fc3f3de10de200542"  # of flux-2-klein-4b
PAGE = 100  # predictions or files in a list
FILES_KEPT = timedelta(days=1)  # as there
_TEXT, _EDIT = "-text-to-image", "-edit"
_MEGAPIXEL = 1024 * 1024
_MATCH = "match_input_image"
_STATUS = {
    Status.QUEUED: "starting",
    Status.RUNNING: "processing",
    Status.SUCCEEDED: "succeeded",
    Status.FAILED: "failed",
    Status.CANCELLED: "canceled",
}
_BAR = 20  # characters of the progress bar in the logs
Ratio = Literal[
    "1:1", "16:9", "9:16", "3:2", "2:3", "4:3", "3:4", "5:4", "4:5", "21:9", "9:21",
    "match_input_image",
]  # fmt: skip
Megapixels = Literal["0.25", "0.5", "1", "2", "4"]


class Input(BaseModel):
    """The input as Replicate names it; unknown fields are ignored there too."""

    model_config = ConfigDict(extra="ignore", strict=True)

    prompt: str = Field(min_length=1, max_length=PROMPT_MAX_LENGTH, description="What to draw.")
    images: list[str] = Field(
        [],
        max_length=REFERENCES_MAX,
        description="Images to edit, as URLs or data URIs; png, jpeg or webp.",
    )
    aspect_ratio: Ratio = Field(
        "1:1",
        description=f"Width to height; {_MATCH} takes the size of the first image.",
    )
    output_megapixels: Megapixels = Field("1", description="Size of the picture.")
    seed: int | None = Field(None, description="The same seed and input draw the same picture.")
    go_fast: bool = Field(False, description="Accepted for compatibility.")
    output_format: Literal["webp", "jpg", "png"] = Field("jpg", description="The file format.")
    output_quality: int = Field(95, ge=0, le=100, description="Of jpg and webp.")
    disable_safety_checker: bool = Field(False, description="Accepted for compatibility.")


class BaseInput(Input):
    """The base model's input, which has a guidance too."""

    guidance: float = Field(4.0, ge=1, le=10, description="How closely to follow the prompt.")


class CreateBody(BaseModel):
    """A request for a prediction."""

    model_config = ConfigDict(extra="ignore", strict=True)

    input: dict[str, Any]
    version: str | None = None
    webhook: str | None = None
    webhook_events_filter: list[Literal["start", "output", "logs", "completed"]] | None = None


def parse_create(given: dict[str, Any]) -> CreateBody:
    """Read a create. Raises InvalidInput."""
    try:
        parsed = CreateBody.model_validate(given)
    except ValidationError as exc:
        raise InvalidInput(*problems_of(exc)) from None
    if parsed.webhook and not is_url(parsed.webhook):
        raise InvalidInput(FieldProblem(field="webhook", message=WHAT_TO_SEND))
    return parsed


def name_of(version: str | None) -> str:
    """Tell which model a version means: its id, or owner/name with or without one. Raises InvalidInput."""
    name, _, version_id = (version or "").rpartition(":")
    if version_id == VERSION and not name:
        return "flux-2-klein-4b"
    owner, _, model = (name or version_id).partition("/")
    if owner != OWNER or model not in NAMES or (name and version_id != VERSION):
        message = f"send {OWNER}/flux-2-klein-4b, or its version {VERSION}"
        raise InvalidInput(FieldProblem(field="version", message=message))
    return model


def model_of(owner: str, name: str) -> CheckpointKind:
    """Look a model up. Raises UnknownModel."""
    if owner != OWNER or name not in NAMES:
        raise UnknownModel(f"{owner}/{name}")
    return NAMES[name]


def read_input(name: str, given: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Give the slug and the input that the catalog knows. Raises InvalidInput with Replicate's names."""
    present = {field: value for field, value in given.items() if value is not None}
    try:
        asked = (BaseInput if name.endswith("-base") else Input).model_validate(present)
    except ValidationError as exc:
        raise InvalidInput(*problems_of(exc)) from None
    read: dict[str, Any] = {
        "prompt": asked.prompt,
        "acceleration": "high" if asked.go_fast else "regular",
        "output_format": asked.output_format.replace("jpg", "jpeg"),
        "output_quality": max(asked.output_quality, 1),
        "enable_safety_checker": not asked.disable_safety_checker,
    }
    if asked.seed is not None:
        read["seed"] = asked.seed
    if isinstance(asked, BaseInput):
        read["guidance_scale"] = asked.guidance
    if asked.images:
        read["image_urls"] = asked.images
    if asked.aspect_ratio != _MATCH or not asked.images:
        width, height = size_of(asked.aspect_ratio, asked.output_megapixels)
        read["image_size"] = {"width": width, "height": height}
    return name + (_EDIT if asked.images else _TEXT), read


def in_their_names(exc: InvalidInput) -> InvalidInput:
    """Name fields as Replicate does, in problems that were found after the mapping."""
    return InvalidInput(
        *(
            FieldProblem(field=p.field.replace("image_urls", "images"), message=p.message)
            for p in exc.problems
        )
    )


def size_of(ratio: str, megapixels: str) -> tuple[int, int]:
    """Give width and height in pixels of a ratio at about so many megapixels."""
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


def webhook_of(body: CreateBody, base: str, secret: str) -> Webhook | None:
    """Tell whom a create wants to be told of the end; only the end is told, and signed."""
    wants_end = body.webhook_events_filter is None or "completed" in body.webhook_events_filter
    if not body.webhook or not wants_end:
        return None
    return Webhook(
        url=body.webhook,
        secret=secret,
        sends_secret=False,
        base=base,
        dialect="replicate",
        on_cancel=True,
    )


def prediction_body(prediction: Prediction, pictures: Pictures, show: Show) -> dict[str, Any]:
    """Show a prediction; `output` is a list of URLs, however many there are."""
    own = f"{pictures.base}/v1/predictions/{prediction.id}"
    ended = prediction.finished_at
    metrics = {}
    if prediction.status is Status.SUCCEEDED and ended is not None:
        metrics = {
            "predict_time": prediction.run_time.total_seconds(),
            "total_time": (ended - prediction.created_at).total_seconds(),
        }
    return {
        "id": prediction.id,
        "model": f"{OWNER}/{_name(prediction)}",
        "version": "hidden",  # as for every official model
        "input": show_input(pictures.input(prediction)),
        "logs": _logs(prediction),
        "output": [show(output) for output in prediction.outputs] or None,
        "data_removed": False,
        "error": prediction.failure.message if prediction.failure else None,
        "status": _STATUS[prediction.status],
        "source": "api",
        "created_at": time_text(prediction.created_at),
        "started_at": time_text(prediction.started_at),
        "completed_at": time_text(ended),
        "urls": {"get": own, "cancel": f"{own}/cancel"},
        "metrics": metrics,
    }


def webhook_body(prediction: Prediction, pictures: Pictures, show: Show) -> bytes:
    """Write what a receiver gets: the prediction."""
    body = prediction_body(prediction, pictures, show)
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def show_input(kept: dict[str, Any]) -> dict[str, Any]:
    """Show an input in Replicate's names, whoever's names it came in."""
    shown: dict[str, Any] = {"prompt": kept["prompt"]}
    if kept.get("image_urls"):
        shown["images"] = kept["image_urls"]
    size = kept.get("image_size") or (None if "image_urls" in kept else "landscape_4_3")
    pair = NAMED_SIZES[size] if isinstance(size, str) else size and (size["width"], size["height"])
    if pair is None:
        shown["aspect_ratio"] = _MATCH
    elif pair in _RATIOS:
        shown["aspect_ratio"], shown["output_megapixels"] = _RATIOS[pair]
    else:
        shown |= {"aspect_ratio": "custom", "width": pair[0], "height": pair[1]}
    shown["seed"] = kept.get("seed")
    shown["go_fast"] = kept.get("acceleration") == "high"
    shown["output_format"] = str(kept.get("output_format") or "png").replace("jpeg", "jpg")
    if kept.get("output_quality") is not None:
        shown["output_quality"] = kept["output_quality"]
    if "guidance_scale" in kept:
        shown["guidance"] = kept["guidance_scale"]
    shown["disable_safety_checker"] = kept.get("enable_safety_checker") is False
    return shown


def metadata_of(text: str | None) -> dict[str, Any]:
    """Read what a caller keeps with a file. Raises InvalidInput."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InvalidInput(FieldProblem(field="metadata", message="send a JSON object"))
    return found


def file_body(upload: Upload, link: Link) -> dict[str, Any]:
    """Show a file; its URL is an input for whoever holds it."""
    return {
        "id": upload.id,
        "name": upload.name,
        "content_type": upload.media_type,
        "size": upload.size_bytes,
        "etag": upload.sha256,
        "checksums": {"sha256": upload.sha256},
        "metadata": upload.metadata,
        "created_at": time_text(upload.opened_at),
        "expires_at": time_text(upload.expires_at),
        "urls": {"get": link(upload.key, upload.expires_at)},
    }


def model_body(name: str, base: str, at: datetime) -> dict[str, Any]:
    """Show a model."""
    return {
        "url": f"{base}/v1/models/{OWNER}/{name}",
        "owner": OWNER,
        "name": name,
        "description": _catalog_entry(name).title.removesuffix(" Text to Image"),
        "visibility": "public",
        "github_url": None,
        "paper_url": None,
        "license_url": None,
        "run_count": 0,
        "cover_image_url": None,
        "default_example": None,
        "latest_version": version_body(name, at),
    }


def version_body(name: str, at: datetime) -> dict[str, Any]:
    """Show a model's only version, with the schema of what goes in and comes out."""
    schema = (BaseInput if name.endswith("-base") else Input).model_json_schema()
    output = {"type": "array", "items": {"type": "string", "format": "uri"}, "title": "Output"}
    return {
        "id": VERSION if name == "flux-2-klein-4b" else "hidden",
        "created_at": time_text(at),
        "cog_version": "0.0.0",
        "openapi_schema": {
            "openapi": "3.0.2",
            "info": {"title": name, "version": "0.1.0"},
            "paths": {},
            "components": {"schemas": {"Input": schema, "Output": output}},
        },
    }


def _name(prediction: Prediction) -> str:
    return prediction.model.removesuffix(_TEXT).removesuffix(_EDIT)


def _catalog_entry(name: str) -> Model:
    return MODELS[name + _TEXT]


def _logs(prediction: Prediction) -> str:
    """Write the seed, the notes and how far it is, in the form that Replicate's clients read progress from."""
    lines = [f"Using seed: {prediction.input.get('seed')}", *prediction.notes]
    if prediction.steps:
        done = prediction.step / prediction.steps
        bar = ("█" * round(done * _BAR)).ljust(_BAR)
        lines.append(f"{done:4.0%}|{bar}| {prediction.step}/{prediction.steps}")
    return "\n".join(lines)
