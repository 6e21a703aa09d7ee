"""Serves the routes of Stable Diffusion web UI, and renders errors in its form."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from app.api.auth import KeyId
from app.api.errors import ErrorResponse
from app.dialects.a1111 import wire
from app.dialects.a1111.ignored import ignored_fields, ignored_options
from app.dialects.dependencies import READ_SLOT, JsonBody, ReadSlotsOf, ServiceOf
from app.dialects.errors import describe_error
from app.dialects.http import HttpDialect
from app.dialects.ignored_fields import ignored_notes
from app.dialects.run import NoImage, Run, RunOf
from app.predictions.catalog import MODELS
from app.predictions.errors import AlreadyFinal, InvalidInput
from app.predictions.prediction import Prediction
from app.predictions.service import Service

RECENT = timedelta(hours=1)  # how old a prediction may be whose progress is shown
NOTHING: dict[str, Any] = {  # what klein does not have
    "upscalers": [],
    "latent-upscale-modes": [],
    "sd-vae": [],
    "sd-modules": [],
    "hypernetworks": [],
    "face-restorers": [],
    "realesrgan-models": [],
    "prompt-styles": [],
    "embeddings": {"loaded": {}, "skipped": {}},
    "scripts": {"txt2img": [], "img2img": []},
    "script-info": [],
    "extensions": [],
    "cmd-flags": {},
    "memory": {"ram": {}, "cuda": {}},
    "samplers": wire.SAMPLERS,
    "schedulers": wire.SCHEDULERS,
}
router = APIRouter(include_in_schema=False)  # documented by AUTOMATIC1111


@router.post("/v1/txt2img", response_model=None)
async def text_to_image(run: RunOf) -> Response:
    """Generate images and return them."""
    return await _answer(run, await run.read_json(takes_base64=True), is_edit=False)


@router.post("/v1/img2img", response_model=None)
async def image_to_image(run: RunOf) -> Response:
    """Edit images and return the result."""
    return await _answer(run, await run.read_json(takes_base64=True), is_edit=True)


@router.get("/v1/progress", response_model=None, dependencies=[READ_SLOT])
async def progress(
    key_id: KeyId, service: ServiceOf, read_slots: ReadSlotsOf, skip_current_image: bool = False
) -> Response:
    """Show the progress of the oldest prediction of this key that has not ended, with a preview."""
    current = await read_slots.read(key_id, partial(_unfinished, service, key_id))
    prediction = current[-1] if current else None
    preview = None
    if prediction is not None and not skip_current_image:
        preview = await service.preview(prediction)
    return JSONResponse(wire.progress_body(prediction, preview))


@router.post("/v1/interrupt", response_model=None)
@router.post("/v1/skip", response_model=None)
def interrupt(key_id: KeyId, service: ServiceOf) -> Response:
    """Cancel the predictions of this key that have not ended."""
    for prediction in _unfinished(service, key_id):
        try:
            service.cancel(key_id, prediction.id)
        except AlreadyFinal:
            continue
    return JSONResponse({})


@router.get("/v1/options", response_model=None)
def options(_key_id: KeyId, service: ServiceOf) -> Response:
    """Show the options, which cannot be changed."""
    return JSONResponse(wire.options_body(service.served_kinds()))


@router.post("/v1/options", response_model=None)
def set_options(_key_id: KeyId, body: JsonBody, service: ServiceOf) -> Response:
    """Change nothing, and name the options that ask for another value. A request sets its own in `override_settings`."""
    notes = ignored_notes(ignored_options(body, service.served_kinds()))
    return JSONResponse({"klein_notes": list(notes)} if notes else {})


@router.get("/v1/sd-models", response_model=None)
def models(_key_id: KeyId, service: ServiceOf) -> Response:
    """List the models that workers serve."""
    return JSONResponse(wire.models_body(service.served_kinds()))


@router.get("/v1/loras", response_model=None)
def loras(key_id: KeyId, service: ServiceOf) -> Response:
    """List the LoRAs that a prompt may name as `<lora:NAME:1>`."""
    names = [lora.name.removesuffix(".safetensors") for lora in service.list_loras(key_id)]
    return JSONResponse([{"name": n, "alias": n, "path": n, "metadata": {}} for n in names])


@router.post("/v1/refresh-checkpoints", response_model=None)
@router.post("/v1/refresh-loras", response_model=None)
def refresh(_key_id: KeyId) -> Response:
    """Do nothing: the lists are always current."""
    return JSONResponse({})


def _add_empty(name: str, value: Any) -> None:
    @router.get(f"/v1/{name}", response_model=None, name=name)
    def nothing(_key_id: KeyId) -> Response:
        return JSONResponse(value)


for _name, _value in NOTHING.items():
    _add_empty(_name, _value)


def render_error(exc: Exception) -> ErrorResponse:
    """Render an error: clients show `errors` or `detail`."""
    description = describe_error(exc)
    details = description.details
    status, message = description.status, details if isinstance(details, str) else ""
    if isinstance(exc, InvalidInput):
        status, message = 422, str(exc)
    if isinstance(exc, NoImage):
        status, message = 400 if exc.is_caller_error else 500, str(exc)
    body = {
        "error": description.error,
        "detail": message or description.error,
        "body": "",
        "errors": message or description.error,
    }
    return ErrorResponse(status=status, body=body, headers=description.headers)


HTTP = HttpDialect(routers=(router,), render_error=render_error)


async def _answer(run: Run, sent: dict[str, Any], *, is_edit: bool) -> Response:
    body = wire.parse_body(sent, is_edit=is_edit)
    served = await run_in_threadpool(run.service.served_kinds)
    slug = wire.find_slug(body, served, is_edit=is_edit)
    is_guided = MODELS[slug].checkpoint.is_guided
    notes = ignored_notes(ignored_fields(sent, is_edit=is_edit, is_guided=is_guided))
    inputs = wire.read_inputs(body, is_edit=is_edit)
    try:
        await run.submit(slug, inputs, notes, body.mask_reading)
    except InvalidInput as exc:
        raise wire.rename_fields(exc) from None
    ended = await run.wait()
    files = [data for _, _, data in await run.read_files(ended)] if body.send_images else []
    return JSONResponse(wire.images_body(sent, ended, files))


def _unfinished(service: Service, key_id: str) -> list[Prediction]:
    """Return the predictions of a key that have not ended, newest first."""
    now = datetime.now(UTC)
    page = service.history(
        key_id,
        since=now - RECENT,
        until=now + timedelta(minutes=1),
        offset=0,
        limit=100,
        matches=lambda prediction: not prediction.status.is_final,
    )
    return page.predictions
