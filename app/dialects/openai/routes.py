"""Serves OpenAI's image routes, also at the paths of Azure."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from app.api.auth import KeyId
from app.api.state import state_of
from app.dialects.dependencies import ImageLinksOf, UploadsOf
from app.dialects.image_links import ImageLinks
from app.dialects.openai import wire
from app.dialects.openai.body import parse_body, read_inputs, rename_fields
from app.dialects.openai.errors import render_error
from app.dialects.openai.names import ModelNames
from app.dialects.openai.references import (
    form_fields,
    read_form_images,
    read_form_mask,
    read_json_images,
    read_json_mask,
)
from app.dialects.openai.stream import stream_images
from app.dialects.run import Run, RunOf
from app.images.mask import MaskReading
from app.predictions.errors import FieldProblem, InvalidInput
from app.uploads import Uploads

MASK_READING = MaskReading(is_alpha=True)  # as OpenAI's documentation says
VARIATION = "a variation of this image"  # the prompt of a variation, which has none of its own
images = APIRouter(include_in_schema=False)  # documented by OpenAI
_STREAM = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # nginx would hold events back
azure = APIRouter(include_in_schema=False)  # the same below the name of a deployment


@images.post("/v1/images/generations", response_model=None)
async def generate(request: Request, run: RunOf, image_links: ImageLinksOf) -> Response:
    """Generate images and return them. Some servers with this API also take images to edit here."""
    return await _generate(request, run, image_links, {})


@images.post("/v1/images/edits", response_model=None)
async def edit(
    request: Request,
    key_id: KeyId,
    run: RunOf,
    image_links: ImageLinksOf,
    uploads: UploadsOf,
) -> Response:
    """Edit images and return the result."""
    body, references = await _read_edit(request, run, key_id, image_links, uploads)
    return await _edit(request, body, references, run, image_links)


@images.post("/v1/images/variations", response_model=None)
async def vary(
    request: Request,
    key_id: KeyId,
    run: RunOf,
    image_links: ImageLinksOf,
    uploads: UploadsOf,
) -> Response:
    """Edit an image with a prompt that asks for a variation."""
    body, references = await _read_edit(request, run, key_id, image_links, uploads)
    if len(references) != 1:
        raise InvalidInput(FieldProblem(field="image", message="send one image"))
    body["prompt"] = VARIATION
    return await _answer(request, body, references, run, image_links)


@azure.post("/deployments/{deployment}/images/generations", response_model=None)
async def generate_in_deployment(
    request: Request, deployment: str, run: RunOf, image_links: ImageLinksOf
) -> Response:
    """Generate images with the model that the deployment is named after."""
    return await _generate(request, run, image_links, {"model": deployment})


@azure.post("/deployments/{deployment}/images/edits", response_model=None)
async def edit_in_deployment(  # noqa: PLR0913 -- FastAPI passes each part by name
    request: Request,
    deployment: str,
    key_id: KeyId,
    run: RunOf,
    image_links: ImageLinksOf,
    uploads: UploadsOf,
) -> Response:
    """Edit images. The path names the model only if the body does not."""
    body, references = await _read_edit(request, run, key_id, image_links, uploads)
    return await _edit(request, {"model": deployment} | body, references, run, image_links)


async def _generate(
    request: Request, run: Run, image_links: ImageLinks, defaults: dict[str, Any]
) -> Response:
    body = defaults | await run.read_json(takes_base64=True)
    references = read_json_images(body, _no_file)
    body["mask"] = read_json_mask(body, _no_file)
    return await _answer(request, body, references, run, image_links)


async def _edit(
    request: Request,
    body: dict[str, Any],
    references: list[str],
    run: Run,
    image_links: ImageLinks,
) -> Response:
    if not references:
        raise InvalidInput(FieldProblem(field="image", message="send one image or several"))
    return await _answer(request, body, references, run, image_links)


async def _read_edit(
    request: Request, run: Run, key_id: str, image_links: ImageLinks, uploads: Uploads
) -> tuple[dict[str, Any], list[str]]:
    """Return the fields of an edit and its images, from a form or from JSON."""
    if request.headers.get("Content-Type", "").lower().startswith("application/json"):
        body = await run.read_json(takes_base64=True)

        def locate(file_id: str) -> str:
            upload = uploads.owned(key_id, file_id)
            return image_links.link(upload.key, upload.expires_at)

        return body | {"mask": read_json_mask(body, locate)}, read_json_images(body, locate)
    async with run.read_form() as form:
        references = await read_form_images(form, run.keep_image)
        mask = await read_form_mask(form, run.keep_image)
        return _plain(form_fields(form)) | {"mask": mask}, references


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    """Drop the files that are not fields."""
    return {
        name: value
        for name, value in fields.items()
        if name in {"prompt", "markup"} or not isinstance(value, UploadFile)
    }


async def _answer(
    request: Request,
    body: dict[str, Any],
    references: list[str],
    run: Run,
    image_links: ImageLinks,
) -> Response:
    parsed = parse_body(body)
    names = ModelNames.of(state_of(request.app).openai_models)
    served = await run_in_threadpool(run.service.served_kinds)
    slug = names.find_slug(parsed.model, served, is_edit=bool(references))
    try:
        await run.submit(slug, read_inputs(parsed, references), mask_reading=MASK_READING)
    except InvalidInput as exc:
        raise rename_fields(exc, body) from None
    if parsed.is_streamed:
        event = "image_edit" if references else "image_generation"
        events = stream_images(run, event, parsed.partial_images or 0, render_error)
        return StreamingResponse(events, media_type="text/event-stream", headers=_STREAM)
    ended = await run.wait()
    form = wire.form_of(parsed, names)
    if form.has_file:
        files = await run.read_files(ended)
        image_bodies = [
            wire.image_body(p, output, data, image_links, form) for p, output, data in files
        ]
    else:
        outputs = [(p, output) for p in ended for output in p.outputs]
        image_bodies = [
            wire.image_body(p, output, None, image_links, form) for p, output in outputs
        ]
    return JSONResponse(wire.images_body(ended, image_bodies))


def _no_file(file_id: str) -> str:
    message = f"{file_id[:40]} is a file id, which /v1/images/edits takes; send a URL or a data URI"
    raise InvalidInput(FieldProblem(field="image", message=message))
